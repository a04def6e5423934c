// SPDX-License-Identifier: LGPL-2.1-or-later
/* Verbs about sites. Loop thread. */
#include "common/cleanup.h"
#include "common/memory.h"
#include "common/timetable.h"
#include "controller/session/batch.h"
#include <stdio.h>
#include <string.h>

BATCH_FILL(fill, SITES, sites, sites, site_records, SiteRecords, SiteRecord)

// What the site's line may carry, as it was given, one a line: see common/timetable.h.
static int put_rates(struct store_site *site, char *const *rates, size_t n, struct error *err) {
        struct timetable timetable = {0};
        size_t used = 0;
        site->rates[0] = '\0';
        for (size_t i = 0; i < n; i++) {
                if (timetable_add(&timetable, rates[i], err) < 0)
                        return error_prefix(err, "--rate");
                size_t length = strlen(rates[i]);
                if (used + length + 2 > sizeof(site->rates))
                        return error_set(err, ERROR_TOO_LARGE, "the rates take more than %zu bytes",
                                         sizeof(site->rates) - 1);
                used += (size_t) snprintf(site->rates + used, sizeof(site->rates) - used, "%s%s", used ? "\n" : "",
                                          rates[i]);
        }
        return 0;
}

static int put_timezone(struct store_site *site, const char *timezone, struct error *err) {
        struct zone *zone;
        if (zone_open(timezone, &zone, err) < 0)
                return error_prefix(err, "--timezone");
        zone_free(zone);
        snprintf(site->timezone, sizeof(site->timezone), "%s", timezone);
        return 0;
}

// ---- the verbs

// Sites and hosts stand in the same order, so one pass over both is enough; `*at` is where this site's hosts begin.
static void count_hosts(const struct fleet *fleet, Drover__SiteRecord *record, size_t *at) {
        size_t n;
        struct fleet_host *const *hosts = fleet_hosts(fleet, &n);
        while (*at < n && strcmp(hosts[*at]->site, record->name) < 0)
                ++*at;
        for (; *at < n && strcmp(hosts[*at]->site, record->name) == 0; ++*at) {
                const struct fleet_host *host = hosts[*at];
                record->hosts++;
                record->hosts_online += host->online;
                for (size_t k = 0; k < host->n_vms; k++) {
                        if (!fleet_vm_shown(fleet, host->vms[k]))
                                continue;
                        record->vms++;
                        record->vms_running += strcmp(host->vms[k]->domain->state, "running") == 0;
                }
        }
}

static Drover__SiteRecord *new_record(const struct fleet *fleet, const struct store_site *site, size_t *at) {
        Drover__SiteRecord *record = new (Drover__SiteRecord);
        drover__site_record__init(record);
        record->name = memory_string(site->name);
        record->timezone = memory_string(site->timezone);
        _cleanup_(free_p) char *rates = memory_string(site->rates);
        char *rest = rates;
        for (char *rate; (rate = strsep(&rest, "\n"));) {
                if (!*rate)
                        continue;
                record->rates = memory_grow(record->rates, record->n_rates + 1, sizeof(*record->rates));
                record->rates[record->n_rates++] = memory_string(rate);
        }
        count_hosts(fleet, record, at);
        return record;
}

int verb_site_list(struct verb_call *call, struct error *err) {
        const char *name = call->request->site_list->name;
        size_t n, at = 0;
        const struct store_site *sites = fleet_sites(call->session->fleet, &n);
        struct batch batch;
        if (name[0] && !verb_site(call, name, err))
                return -1;
        batch_init(&batch, call, fill);
        int r = 0;
        for (size_t i = 0; r == 0 && i < n; i++)
                if (verb_may_see(call, sites[i].name) && (!name[0] || strcmp(name, sites[i].name) == 0))
                        r = batch_add(&batch, &new_record(call->session->fleet, &sites[i], &at)->base, err);
        if (r == 0)
                r = batch_end(&batch, err);
        batch_fini(&batch);
        return r;
}

int verb_site_create(struct verb_call *call, struct error *err) {
        const Drover__SiteCreate *create = call->request->site_create;
        struct store_site site = {0};
        if (verb_site(call, create->name, NULL)) {
                error_set(err, ERROR_CONFLICT, "there is a site %s already", create->name);
                error_hint(err, "drover site set %s", create->name);
                return -1;
        }
        snprintf(site.name, sizeof(site.name), "%s", create->name);
        if (put_timezone(&site, create->timezone, err) < 0 || put_rates(&site, create->rates, create->n_rates, err) < 0)
                return -1;
        return fleet_site_put(call->session->fleet, &site, err);
}

// What is not given stays as it was.
int verb_site_set(struct verb_call *call, struct error *err) {
        const Drover__SiteSet *set = call->request->site_set;
        const struct store_site *known = verb_site(call, set->name, err);
        if (!known)
                return -1;
        struct store_site site = *known;
        if (!set->timezone[0] && set->n_rates == 0)
                return error_set(err, ERROR_USAGE, "nothing to change: give --timezone or --rate");
        if ((set->timezone[0] && put_timezone(&site, set->timezone, err) < 0) ||
            (set->n_rates && put_rates(&site, set->rates, set->n_rates, err) < 0))
                return -1;
        return fleet_site_put(call->session->fleet, &site, err);
}

int verb_site_remove(struct verb_call *call, struct error *err) {
        const char *name = call->request->site_remove->name;
        return verb_site(call, name, err) ? fleet_site_remove(call->session->fleet, name, err) : -1;
}
