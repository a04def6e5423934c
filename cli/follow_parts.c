// SPDX-License-Identifier: LGPL-2.1-or-later
/* Parts of a batch; see follow_parts.h. */
#include "cli/follow_parts.h"
#include "cli/output.h"
#include "common/units.h"

#include <stdbool.h>
#include <string.h>

static bool has_ended(const Drover__JobPart *part) {
        static const char *const states[] = {"done", "failed", "cancelled", "refused", "needs-operator"};
        for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
                if (strcmp(part->state, states[i]) == 0)
                        return true;
        return false;
}

static void say(const Drover__JobPart *part) {
        char size[UNITS_TEXT_MAX];
        if (part->error)
                output_line("  %-32s %s: %s", part->vm, part->state, part->error->message);
        else if (strcmp(part->state, "done") == 0)
                output_line("  %-32s %s, %s", part->vm, part->state, units_format_size(part->bytes_total, size));
        else
                output_line("  %-32s %s", part->vm, part->state);
}

void follow_parts_say(const Drover__JobRecord *before, const Drover__JobRecord *job) {
        for (size_t i = 0; i < job->n_parts; i++) {
                bool known =
                        before && i < before->n_parts && strcmp(before->parts[i]->state, job->parts[i]->state) == 0;
                if (has_ended(job->parts[i]) && !known)
                        say(job->parts[i]);
        }
}

static unsigned percent(const Drover__JobPart *part) {
        if (part->bytes_total == 0)
                return 0;
        uint64_t done = part->bytes_done < part->bytes_total ? part->bytes_done : part->bytes_total;
        return (unsigned) ((double) done * 100 / (double) part->bytes_total);
}

unsigned follow_parts_draw(const Drover__JobRecord *job) {
        char done_text[UNITS_TEXT_MAX], total_text[UNITS_TEXT_MAX];
        uint64_t done = 0, total = 0;
        unsigned lines = 0, queued = 0;
        if (job->finished_ms)
                return 0;
        for (size_t i = 0; i < job->n_parts; i++) {
                const Drover__JobPart *part = job->parts[i];
                bool refused = strcmp(part->state, "refused") == 0;
                total += refused ? 0 : part->bytes_total;
                done += refused ? 0 : part->bytes_done;
                queued += strcmp(part->state, "queued") == 0;
                if (has_ended(part) || strcmp(part->state, "queued") == 0)
                        continue;
                output_line("  %-32s %s, %u %% of %s%s%s", part->vm, part->state, percent(part),
                            units_format_size(part->bytes_total, total_text), part->note[0] ? "; " : "", part->note);
                lines++;
        }
        output_line("  %s, %u queued; %s of %s", job->note, queued, units_format_size(done, done_text),
                    units_format_size(total, total_text));
        return lines + 1;
}
