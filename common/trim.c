// SPDX-License-Identifier: LGPL-2.1-or-later
/* Only segments that are mapped without write permission are dropped, and none of an object whose text is relocated:
 * what the kernel would read again from the file must be what is there. The loader's lock is held meanwhile. */
#include "common/trim.h"
#include <link.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static bool has_relocated_text(const struct dl_phdr_info *object) {
        for (unsigned i = 0; i < object->dlpi_phnum; i++) {
                if (object->dlpi_phdr[i].p_type != PT_DYNAMIC)
                        continue;
                const ElfW(Dyn) *entry = (const void *) (object->dlpi_addr + object->dlpi_phdr[i].p_vaddr);
                for (; entry->d_tag != DT_NULL; entry++)
                        if (entry->d_tag == DT_TEXTREL || (entry->d_tag == DT_FLAGS && entry->d_un.d_val & DF_TEXTREL))
                                return true;
        }
        return false;
}

static int drop_object(struct dl_phdr_info *object, size_t size, void *data) {
        (void) size;
        uintptr_t page = *(const uintptr_t *) data;
        if (!strncmp(object->dlpi_name, "linux-", 6) || has_relocated_text(object)) // the kernel's own is no file
                return 0;
        for (unsigned i = 0; i < object->dlpi_phnum; i++) {
                const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
                if (segment->p_type != PT_LOAD || segment->p_flags & PF_W)
                        continue;
                uintptr_t from = (object->dlpi_addr + segment->p_vaddr) & ~(page - 1);
                uintptr_t to = (object->dlpi_addr + segment->p_vaddr + segment->p_filesz) & ~(page - 1);
                if (to > from)
                        madvise((void *) from, to - from, MADV_DONTNEED); // advice: what fails changes nothing
        }
        return 0;
}

void trim_memory(void) {
        uintptr_t page = (uintptr_t) sysconf(_SC_PAGESIZE);
        malloc_trim(0);
        dl_iterate_phdr(drop_object, &page);
}
