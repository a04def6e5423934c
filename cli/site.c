// SPDX-License-Identifier: LGPL-2.1-or-later
/* drover site: the places that hosts are in, and what their lines may carry. */
#include "cli/verb.h"

COLLECT(collect, SITES, sites, sites, record_site(reply->sites->sites[i]))

static const struct column columns[] = {
        {"NAME", "name", COLUMN_TEXT, false},
        {"HOSTS", "hosts", COLUMN_NUMBER, false},
        {"ONLINE", "hosts_online", COLUMN_NUMBER, false},
        {"VMS", "vms", COLUMN_NUMBER, false},
        {"RUNNING", "vms_running", COLUMN_NUMBER, false},
        {"TIMEZONE", "timezone", COLUMN_TEXT, true},
        {"RATES", "rates", COLUMN_TEXT, true},
        {0},
};

static int list(struct invocation *call, struct error *err) {
        VERB(site_list, SITE_LIST, site_list, SiteList)
        return list_run(call, &request, collect, columns, "name",
                        "no sites: drover site create NAME, or drover host invite SITE/HOST", err);
}

static int show(struct invocation *call, struct error *err) {
        VERB(site_list, SITE_LIST, site_list, SiteList)
        verb.name = (char *) call->objects[0];
        return list_show(call, &request, collect, "name", "such site", err);
}

static size_t rates_of(const struct invocation *call, char *rates[COMMAND_OBJECTS_MAX]) {
        size_t n = 0;
        for (const char *rate; (rate = option_nth(call, "--rate", (unsigned) n)); n++)
                rates[n] = (char *) rate;
        return n;
}

static int create(struct invocation *call, struct error *err) {
        char *rates[COMMAND_OBJECTS_MAX];
        VERB(site_create, SITE_CREATE, site_create, SiteCreate)
        verb.name = (char *) call->objects[0];
        verb.timezone = verb_text(call, "--timezone");
        verb.n_rates = rates_of(call, rates);
        verb.rates = rates;
        return list_done(call, &request, "site created", err);
}

static int change(struct invocation *call, struct error *err) {
        char *rates[COMMAND_OBJECTS_MAX];
        VERB(site_set, SITE_SET, site_set, SiteSet)
        verb.name = (char *) call->objects[0];
        verb.timezone = verb_text(call, "--timezone");
        verb.n_rates = rates_of(call, rates);
        verb.rates = rates;
        return list_done(call, &request, "site changed", err);
}

static int rm(struct invocation *call, struct error *err) {
        VERB(site_remove, SITE_REMOVE, site_remove, SiteRemove)
        verb.name = (char *) call->objects[0];
        return list_done(call, &request, "site removed", err);
}

#define ABOUT_RATES                                                                                                    \
        "Transfers share a site's line fairly, and keep to its rate while they run. A rate with days or hours goes "   \
        "before one without; of several that fit, the first holds; where none fits there is no limit. Days are mon, "  \
        "tue, mon..fri or sat,sun; hours are 8-18, 8:30-18:15, or 22-6 over midnight, by the site's clock."

static const struct command_option settings[] = {
        {"--timezone", "ZONE", "such as Europe/Paris; UTC by default", false},
        {"--rate", "RATE[@DAYS:HOURS]",
         "what the site's line may carry each way, such as 20Mbit@mon..fri:8-18, or full; may be repeated", true},
        {0},
};

const struct command site_commands[] = {
        {.noun = "site", .verb = "list", .summary = "All sites, with their hosts and VMs", .run = list, .lists = true},
        {.noun = "site",
         .verb = "show",
         .objects = "NAME",
         .objects_min = 1,
         .objects_max = 1,
         .summary = "One site",
         .run = show,
         .lists = true,
         .completes = "site"},
        {.noun = "site",
         .verb = "create",
         .objects = "NAME",
         .objects_min = 1,
         .objects_max = 1,
         .summary = "Make a site",
         .description = ABOUT_RATES,
         .options = settings,
         .run = create},
        {.noun = "site",
         .verb = "set",
         .objects = "NAME",
         .objects_min = 1,
         .objects_max = 1,
         .summary = "Change a site's time zone or rates",
         .description = ABOUT_RATES " The rates that are given replace all that there were.",
         .options = settings,
         .run = change,
         .completes = "site"},
        {.noun = "site",
         .verb = "rm",
         .objects = "NAME",
         .objects_min = 1,
         .objects_max = 1,
         .summary = "Remove a site that has no hosts",
         .run = rm,
         .completes = "site"},
        {0},
};
