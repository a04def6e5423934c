// SPDX-License-Identifier: LGPL-2.1-or-later
/* drover status: the fleet in ten lines, what is wrong now first. */
#include "cli/verb.h"
#include "common/units.h"

#include <stdio.h>

static int keep(const Drover__OperatorReply *reply, void *data, struct error *err) {
        if (reply->value_case != DROVER__OPERATOR_REPLY__VALUE_STATUS)
                return error_set(err, ERROR_PROTOCOL, "the controller's answer holds no status");
        *(Drover__FleetStatus **) data = (Drover__FleetStatus *) proto_copy(&reply->status->base);
        return 1;
}

static void print(const Drover__FleetStatus *status) {
        char memory[UNITS_TEXT_MAX], room[UNITS_TEXT_MAX], retired[UNITS_TEXT_MAX];
        for (size_t i = 0; i < status->n_problems; i++) {
                const Drover__Problem *problem = status->problems[i];
                printf("%-8s %s: %s\n", problem->severity, problem->object, problem->message);
                if (problem->hint[0])
                        printf("         hint: %s\n", problem->hint);
        }
        if (status->n_problems == 0)
                printf("all is well\n");
        printf("\nsites    %u\n", status->sites);
        printf("hosts    %u, %u online\n", status->hosts, status->hosts_online);
        printf("VMs      %u, %u running\n", status->vms, status->vms_running);
        printf("jobs     %u running, %u waiting, %u failed in the last day\n", status->jobs_running,
               status->jobs_waiting, status->jobs_failed_day);
        printf("room     %s of memory, %s free in pools, %s in retired copies\n",
               units_format_size(status->memory_bytes, memory), units_format_size(status->pool_available_bytes, room),
               units_format_size(status->retired_bytes, retired));
}

static int run(struct invocation *call, struct error *err) {
        Drover__FleetStatus *status = NULL;
        VERB(status_get, STATUS_GET, status_get, StatusGet)
        if (client_ask_once(&request, keep, &status, err) < 0)
                return -1;
        if (call->format == OUTPUT_TABLE || call->format == OUTPUT_WIDE)
                print(status);
        else
                output_show(record_status(status), call->format, "controller");
        proto_free(&status->base);
        return 0;
}

const struct command status_commands[] = {
        {.noun = "status", .summary = "The fleet in ten lines: what is wrong now, first", .run = run, .lists = true},
        {0},
};
