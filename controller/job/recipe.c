// SPDX-License-Identifier: LGPL-2.1-or-later
/* Finding recipes and steps by the names under which they were recorded. */
#include "controller/job/recipe_parts.h"
#include "common/cleanup.h"

#include <stdio.h>
#include <string.h>

const struct recipe *recipe_by_kind(const char *kind) {
        static const struct recipe *const planned[] = {&recipe_move, &recipe_clone, &recipe_undo};
        for (unsigned i = 0; i < ARRAY_SIZE(planned); i++)
                if (strcmp(kind, planned[i]->kind) == 0)
                        return planned[i];
        for (unsigned i = 0; recipe_singles[i]; i++)
                if (strcmp(kind, recipe_singles[i]->kind) == 0)
                        return recipe_singles[i];
        return NULL;
}

const struct recipe *recipe_of(const struct store_job *row) {
        return strcmp(row->batch, row->id) == 0 ? &recipe_batch : recipe_by_kind(row->kind);
}

void recipe_step_label(const struct job *job, const struct recipe_step *kind, unsigned item, char label[32]) {
        if (kind->copies)
                snprintf(label, 32, "%s-%s", kind->name, recipe_item_name(job, item));
        else
                snprintf(label, 32, "%s", kind->name);
}

const struct recipe_step *recipe_step_by_name(const struct recipe *recipe, const char *name, const struct job *job,
                                              unsigned *ret_item) {
        char label[32];
        for (unsigned i = 0; recipe->all[i]; i++) {
                unsigned items = recipe->all[i]->copies ? (unsigned) job->plan->n_disks + 1 : 1;
                for (unsigned item = 0; item < items; item++) {
                        recipe_step_label(job, recipe->all[i], item, label);
                        if (strcmp(label, name) == 0) {
                                *ret_item = item;
                                return recipe->all[i];
                        }
                }
        }
        return NULL;
}
