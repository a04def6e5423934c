// SPDX-License-Identifier: LGPL-2.1-or-later
/* The command line: parsing, the three commands, and what they print. The main thread. */
#include "agent/commands.h"
#include "agent/agent.h"
#include "agent/host/events.h"
#include "agent/session/checks.h"
#include "agent/session/join.h"
#include "agent/session/state.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
        "drover-agent looks after one KVM host for a drover controller.\n"
        "\n"
        "Usage:\n"
        "  drover-agent join TOKEN    make this host known to the controller that issued the token\n"
        "  drover-agent run           connect to the controller and do what it asks (what systemd starts)\n"
        "  drover-agent status        what this host has joined as, and until when its certificate is valid\n"
        "\n"
        "Options:\n"
        "  --config FILE      settings (default " SETTINGS_FILE ", which need not exist)\n"
        "  --state-dir DIR    keys, certificates and journal (default " STATE_DIRECTORY ")\n"
        "  --force            join: give up the identity that this host has, and all that is remembered under it\n"
        "  --version          print the version\n"
        "  -h, --help         print this\n"
        "\n"
        "A token comes from the controller: drover host invite SITE/HOST. It is for one use, and it names the\n"
        "authority that this host will trust, so nothing is sent to anybody else.\n"
        "Exit codes: 0 done, 1 failed, 2 usage or not joined, 4 token refused, 6 has joined already, 8 unreachable.\n";

struct options {
        const char *config, *state_directory;
        bool force, version, help;
        char **words; // what is left
        int n_words;
};

static int fail(const struct error *err) {
        fprintf(stderr, "drover-agent: %s\n", err->message);
        for (unsigned i = 0; i < err->n_hints; i++)
                fprintf(stderr, "hint: %s\n", err->hints[i]);
        return error_exit_code(err->code);
}

static int parse(int argc, char **argv, struct options *ret, struct error *err) {
        static const struct option longs[] = {
                {"config", required_argument, NULL, 'c'}, {"state-dir", required_argument, NULL, 's'},
                {"force", no_argument, NULL, 'f'},        {"version", no_argument, NULL, 'v'},
                {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
        *ret = (struct options){.state_directory = STATE_DIRECTORY};
        opterr = 0;
        optind = 0; // so that tests can parse more than once
        for (int c; (c = getopt_long(argc, argv, ":h", longs, NULL)) != -1;) {
                if (c == 'c')
                        ret->config = optarg;
                else if (c == 's')
                        ret->state_directory = optarg;
                else if (c == 'f')
                        ret->force = true;
                else if (c == 'v')
                        ret->version = true;
                else if (c == 'h')
                        ret->help = true;
                else if (c == ':')
                        return error_set(err, ERROR_USAGE, "%s wants a value", argv[optind - 1]);
                else
                        return error_set(err, ERROR_USAGE, "%s is not an option", argv[optind - 1]);
        }
        ret->words = argv + optind;
        ret->n_words = argc - optind;
        return 0;
}

static void print_checks(const struct checks *checks) {
        printf("  Checks                 %u ok", checks->n_ok);
        if (checks->n_warnings == 1)
                printf(", 1 warning (%s)\n", checks->warnings[0]);
        else if (checks->n_warnings)
                printf(", %u warnings\n", checks->n_warnings);
        else
                printf("\n");
        for (unsigned i = 0; checks->n_warnings > 1 && i < checks->n_warnings && i < CHECKS_WARNINGS_MAX; i++)
                printf("    warning              %s\n", checks->warnings[i]);
}

static void print_joined(const struct join_result *result, const struct checks *checks) {
        printf("  Joined as %s/%s", result->site, result->host);
        if (checks->n_vms >= 0)
                printf("; %d VM%s found\n", checks->n_vms, checks->n_vms == 1 ? "" : "s");
        else
                printf("\n");
}

static int command_join(const struct options *options, struct error *err) {
        if (options->n_words != 2) {
                error_set(err, ERROR_USAGE, "join wants one token");
                error_hint(err, "at the controller: drover host invite SITE/HOST");
                return -1;
        }
        struct settings settings = {0};
        struct join_result result;
        if (settings_load(options->config, &settings, err) < 0)
                return -1;
        int r = join_run(options->words[1], options->state_directory, options->force, &result, err);
        if (!r && events_init(err) < 0)
                r = -1;
        if (!r) {
                const struct checks_config config = {.libvirt_uri = settings.libvirt_uri,
                                                     .state_directory = options->state_directory,
                                                     .data_port = (uint16_t) settings.data_port,
                                                     .clock_offset_ms = result.clock_offset_ms};
                struct checks checks;
                printf("  Controller verified    sha256:%.4s…%s\n", result.authority_sha256,
                       result.authority_sha256 + 62);
                fflush(stdout);
                connection_quiet();
                checks_run(&config, &checks);
                print_checks(&checks);
                print_joined(&result, &checks);
                checks_fini(&checks);
        }
        settings_fini(&settings);
        return r;
}

static int command_run(const struct options *options, struct error *err) {
        struct settings settings = {0};
        if (settings_load(options->config, &settings, err) < 0)
                return -1;
        log_set_level((enum log_level) settings_log_level(&settings));
        int r = agent_run(&settings, options->state_directory, err);
        settings_fini(&settings);
        return r;
}

static int command_status(const struct options *options, struct error *err) {
        struct state state = {0};
        struct tls_credentials *credentials = NULL;
        char until[CLOCK_RFC3339_MAX];
        if (state_load(options->state_directory, &state, err) < 0)
                return -1;
        int r = tls_credentials_load(options->state_directory, STATE_NAME, &credentials, err);
        if (!r) {
                printf("Joined as    %s/%s\n", state.site, state.host);
                printf("Host UUID    %s\n", state.uuid);
                for (unsigned i = 0; i < state.addresses.n; i++)
                        printf("%s   %s\n", i ? "          " : "Controller", state.addresses.items[i]);
                printf("Certificate  valid until %s\n",
                       clock_rfc3339(tls_credentials_identity(credentials)->not_after, until));
        }
        tls_credentials_unref(credentials);
        state_fini(&state);
        return r;
}

static int dispatch(const struct options *options, struct error *err) {
        static const struct {
                const char *word;
                int (*run)(const struct options *options, struct error *err);
                int n_words;
        } commands[] = {{"join", command_join, -1}, {"run", command_run, 1}, {"status", command_status, 1}};
        for (size_t i = 0; options->n_words && i < ARRAY_SIZE(commands); i++) {
                if (strcmp(options->words[0], commands[i].word) != 0)
                        continue;
                if (commands[i].n_words > 0 && options->n_words != commands[i].n_words)
                        return error_set(err, ERROR_USAGE, "%s takes no arguments", commands[i].word);
                return commands[i].run(options, err);
        }
        if (options->n_words)
                error_set(err, ERROR_USAGE, "%s is not a command", options->words[0]);
        else
                error_set(err, ERROR_USAGE, "a command is missing: join, run or status");
        error_hint(err, "drover-agent --help");
        return -1;
}

int commands_main(int argc, char **argv) {
        struct options options;
        struct error err = ERROR_INIT;
        log_init("drover-agent", LOG_LEVEL_INFO);
        fault_init();
        if (parse(argc, argv, &options, &err) < 0) {
                error_hint(&err, "drover-agent --help");
                return fail(&err);
        }
        if (options.help) {
                fputs(help, stdout);
                return 0;
        }
        if (options.version) {
                puts("drover-agent " DROVER_VERSION);
                return 0;
        }
        return dispatch(&options, &err) < 0 ? fail(&err) : 0;
}
