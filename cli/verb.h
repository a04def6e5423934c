// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/* Short ways to write a request in a verb's function: VERB(call, vm_list, VM_LIST, VmList) gives `request` and `verb`.
 */
#include "cli/follow.h"
#include "cli/list.h"
#include "cli/record.h"
#include "common/memory.h"

#define VERB(member, MEMBER, type_lower, Type)                                                                         \
        Drover__OperatorRequest request = DROVER__OPERATOR_REQUEST__INIT;                                              \
        Drover__##Type verb;                                                                                           \
        drover__##type_lower##__init(&verb);                                                                           \
        request.verb_case = DROVER__OPERATOR_REQUEST__VERB_##MEMBER;                                                   \
        request.member = &verb;

#define COLLECT(function, MEMBER, member, field, convert)                                                              \
        static void function(const Drover__OperatorReply *reply, json_t *rows) {                                       \
                if (reply->value_case != DROVER__OPERATOR_REPLY__VALUE_##MEMBER)                                       \
                        return;                                                                                        \
                for (size_t i = 0; i < reply->member->n_##field; i++)                                                  \
                        json_array_append_new(rows, convert);                                                          \
        }

// Text of an option for a message: "" when it was not given. Borrowed.
static inline char *verb_text(const struct invocation *call, const char *option) {
        const char *value = option_value(call, option);
        return (char *) (value ? value : "");
}
