// SPDX-License-Identifier: LGPL-2.1-or-later
/* Obstacles, appended to the message that carries them. Pure. */
#include "agent/host/obstacle.h"
#include "common/memory.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void obstacle_add(Drover__Domain *domain, const char *code, const char *hint, const char *format, ...) {
        char message[512];
        va_list args;
        va_start(args, format);
        vsnprintf(message, sizeof(message), format, args);
        va_end(args);
        for (size_t i = 0; i < domain->n_obstacles; i++)
                if (strcmp(domain->obstacles[i]->message, message) == 0)
                        return;
        if (domain->n_obstacles == OBSTACLES_MAX)
                return;
        Drover__Obstacle *obstacle = new (Drover__Obstacle);
        drover__obstacle__init(obstacle);
        obstacle->code = memory_string(code);
        obstacle->message = memory_string(message);
        obstacle->hint = memory_string(hint);
        domain->obstacles = memory_grow(domain->obstacles, domain->n_obstacles + 1, sizeof(*domain->obstacles));
        domain->obstacles[domain->n_obstacles++] = obstacle;
}
