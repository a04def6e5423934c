// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * The steps that more than one recipe is made of, for jobs whose spec is a plan. Included by recipes only.
 *
 *      recipe_parts.c     the VM: looked at, stopped, reserved, started, settled, given back
 *      recipe_images.c    its images: sent, received, defined, verified
 */
#include "controller/job/recipe.h"

// Sets the verb of a request and gives it as `verb`.
#define VERB(request, member, MEMBER, type_lower, Type)                                                                \
        Drover__##Type *verb = new (Drover__##Type);                                                                   \
        drover__##type_lower##__init(verb);                                                                            \
        (request)->verb_case = DROVER__AGENT_REQUEST__VERB_##MEMBER;                                                   \
        (request)->member = verb;

#define FILL(name)                                                                                                     \
        static int fill_##name(const struct job *job, const struct job_step *step, Drover__AgentRequest *request,      \
                               struct error *err)
#define UNUSED ((void) job, (void) step, (void) err)

// recipe_parts.c
extern const struct recipe_step recipe_check, recipe_reserve, recipe_stop, recipe_fence, recipe_confirm, recipe_start,
        recipe_commit, recipe_retire, recipe_settle, recipe_discard, recipe_release;
// What recipe_stop asks; a clone asks it of its original.
int recipe_fill_stop(const struct job *job, const struct job_step *step, Drover__AgentRequest *request,
                     struct error *err);
// recipe_images.c
extern const struct recipe_step recipe_send, recipe_receive, recipe_define, recipe_verify;

int recipe_plan_load(struct job *job, struct error *err);
const char *recipe_plan_host(const struct job *job, enum recipe_place place);
// What the answers say that an undo will need, and what people are to be told: into the plan and the job's spec.
void recipe_remember(struct job *job);
// The dirty bitmaps that the images have lost, as the source said when it gave up or held them: into the plan's words
// of what was done without. True: there are some.
bool recipe_remember_bitmaps(struct job *job);
bool recipe_was_asked(struct job *job, const char *step);

Drover__MoveDisk *recipe_copy_disk(const Drover__MoveDisk *disk);
char **recipe_copy_strings(char *const *strings, size_t n);
char **recipe_targets(const Drover__MovePlan *plan);                  // of its disks
char **recipe_converted(const Drover__MovePlan *plan, size_t *ret_n); // of those that are made anew; *ret_n: 0 before

// An item is one image: a disk of the plan by its place, or, after these, the NVRAM.
unsigned recipe_items(const struct job *job);
const char *recipe_item_name(const struct job *job, unsigned item);
Drover__TransferItem recipe_item_kind(const struct job *job, unsigned item);
uint64_t recipe_item_bytes(const struct job *job,
                           unsigned item); // as the source said when it gave up or held the images
Drover__MoveDisk *recipe_item_disk(const struct job *job, unsigned item);
int recipe_accept_images(struct job *job, struct job_step *step, const Drover__AgentResult *result, struct error *err);
int recipe_accept_copy(struct job *job, struct job_step *step, const Drover__AgentResult *result, struct error *err);
