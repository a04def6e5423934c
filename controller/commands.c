// SPDX-License-Identifier: LGPL-2.1-or-later
/* The command line: parsing, the two commands, and what they print. The main thread. */
#include "controller/commands.h"
#include "common/cleanup.h"
#include "common/fault.h"
#include "common/log.h"
#include "controller/controller.h"
#include "controller/setup.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
        "drover-controller knows the fleet of KVM hosts, and is what hosts and operators connect to.\n"
        "\n"
        "Usage:\n"
        "  drover-controller init    make the certificate authority, the database and the first operator\n"
        "  drover-controller run     serve hosts and operators (what systemd starts)\n"
        "\n"
        "Options of init:\n"
        "  --name NAME            what this installation is called (default: this machine's host name)\n"
        "  --address HOST:PORT    where hosts and operators reach it; may be repeated, up to 8 times\n"
        "                         (default: this machine's host name, and the port of --listen)\n"
        "  --listen ADDR:PORT     what run listens on (default " LISTEN_DEFAULT ")\n"
        "Options of run:\n"
        "  --config FILE          settings (default " SETTINGS_FILE ", which need not exist)\n"
        "Options of both:\n"
        "  --state-dir DIR        keys, certificates and database (default " STATE_DIRECTORY ")\n"
        "  --version              print the version\n"
        "  -h, --help             print this\n"
        "\n"
        "init writes the first operator's credentials to $DROVER_CONFIG, or to ~/.config/drover, where drover(1)\n"
        "looks for them. Given again it refuses, and leaves everything as it is.\n"
        "Exit codes: 0 done, 1 failed, 2 usage, 5 no authority here yet, 6 there is one already.\n";

struct options {
        const char *config, *state_directory;
        struct setup setup;
        bool version, help, for_init, for_run;
        char **words; // what is left
        int n_words;
};

static int fail(const struct error *err) {
        fprintf(stderr, "drover-controller: %s\n", err->message);
        for (unsigned i = 0; i < err->n_hints; i++)
                fprintf(stderr, "hint: %s\n", err->hints[i]);
        return error_exit_code(err->code);
}

static int add_address(struct options *options, const char *address, struct error *err) {
        if (options->setup.n_addresses == SETUP_ADDRESSES_MAX)
                return error_set(err, ERROR_USAGE, "--address may be given %u times", SETUP_ADDRESSES_MAX);
        options->setup.addresses[options->setup.n_addresses++] = address;
        return 0;
}

static int take_option(struct options *options, int option, struct error *err) {
        switch (option) {
        case 'n':
                options->setup.name = optarg;
                options->for_init = true;
                return 0;
        case 'l':
                options->setup.listen = optarg;
                options->for_init = true;
                return 0;
        case 'a':
                options->for_init = true;
                return add_address(options, optarg, err);
        case 'c':
                options->config = optarg;
                options->for_run = true;
                return 0;
        case 's':
                options->state_directory = optarg;
                return 0;
        case 'v':
                options->version = true;
                return 0;
        default: // 'h'
                options->help = true;
                return 0;
        }
}

static int parse(int argc, char **argv, struct options *ret, struct error *err) {
        static const struct option longs[] = {{"name", required_argument, NULL, 'n'},
                                              {"listen", required_argument, NULL, 'l'},
                                              {"address", required_argument, NULL, 'a'},
                                              {"config", required_argument, NULL, 'c'},
                                              {"state-dir", required_argument, NULL, 's'},
                                              {"version", no_argument, NULL, 'v'},
                                              {"help", no_argument, NULL, 'h'},
                                              {NULL, 0, NULL, 0}};
        *ret = (struct options){.state_directory = STATE_DIRECTORY};
        opterr = 0;
        optind = 0; // so that tests can parse more than once
        for (int c; (c = getopt_long(argc, argv, ":h", longs, NULL)) != -1;) {
                if (c == ':')
                        return error_set(err, ERROR_USAGE, "%s wants a value", argv[optind - 1]);
                if (c == '?')
                        return error_set(err, ERROR_USAGE, "%s is not an option", argv[optind - 1]);
                if (take_option(ret, c, err) < 0)
                        return -1;
        }
        ret->words = argv + optind;
        ret->n_words = argc - optind;
        return 0;
}

static int command_init(struct options *options, struct error *err) {
        char fingerprint[65];
        if (options->for_run)
                return error_set(err, ERROR_USAGE, "--config is an option of run");
        options->setup.state_directory = options->state_directory;
        options->setup.operator_directory = setup_operator_directory();
        options->setup.user = setup_user();
        if (setup_run(&options->setup, fingerprint, err) < 0)
                return -1;
        printf("  Authority created      sha256:%.4s…%s\n", fingerprint, fingerprint + 62);
        printf("  First operator         %s (admin), credentials in %s\n", options->setup.user,
               options->setup.operator_directory);
        printf("  Serve                  systemctl start drover-controller, or: drover-controller run\n");
        printf("  Next:  drover host invite lyon/kvm1\n");
        return 0;
}

static int command_run(struct options *options, struct error *err) {
        struct settings settings = {0};
        if (options->for_init)
                return error_set(err, ERROR_USAGE, "--name, --listen and --address are options of init");
        if (settings_load(options->config, &settings, err) < 0)
                return -1;
        log_set_level((enum log_level) settings_log_level(&settings));
        int r = controller_run(&settings, options->state_directory, err);
        settings_fini(&settings);
        return r;
}

static int dispatch(struct options *options, struct error *err) {
        static const struct {
                const char *word;
                int (*run)(struct options *options, struct error *err);
        } commands[] = {{"init", command_init}, {"run", command_run}};
        for (size_t i = 0; options->n_words && i < ARRAY_SIZE(commands); i++) {
                if (strcmp(options->words[0], commands[i].word) != 0)
                        continue;
                if (options->n_words > 1)
                        return error_set(err, ERROR_USAGE, "%s takes no arguments", commands[i].word);
                return commands[i].run(options, err);
        }
        if (options->n_words)
                return error_set(err, ERROR_USAGE, "%s is not a command", options->words[0]);
        return error_set(err, ERROR_USAGE, "a command is missing: init or run");
}

int commands_main(int argc, char **argv) {
        struct options options;
        struct error err = ERROR_INIT;
        fault_init();
        log_init("drover-controller", LOG_LEVEL_INFO);
        int r = parse(argc, argv, &options, &err);
        if (r == 0 && options.help) {
                fputs(help, stdout);
                return 0;
        }
        if (r == 0 && options.version) {
                puts("drover-controller " DROVER_VERSION);
                return 0;
        }
        if (r == 0)
                r = dispatch(&options, &err);
        if (r < 0 && err.code == ERROR_USAGE)
                error_hint(&err, "drover-controller --help");
        return r < 0 ? fail(&err) : 0;
}
