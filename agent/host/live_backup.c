// SPDX-License-Identifier: LGPL-2.1-or-later
/* Backup jobs of running VMs (see live_backup.h). */
#include "agent/host/live_backup.h"
#include "agent/host/live_disks.h"
#include "common/clock.h"
#include "common/memory.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#define POLL_MS   250
#define TRIES_MAX 64u // each after a repair

static void __attribute__((format(printf, 2, 3)))
tell(const struct live_backup_request *request, const char *format, ...) {
        char text[ERROR_MESSAGE_MAX];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        if (request->event)
                request->event(request->data, text);
}

// ---- the directory ----

static void remove_directory(int parent, const char *name) {
        int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *listing = fd < 0 ? NULL : fdopendir(fd);
        if (!listing) {
                if (fd >= 0)
                        close(fd);
                return;
        }
        for (const struct dirent *entry; (entry = readdir(listing));)
                unlinkat(fd, entry->d_name, 0); // "." and ".." are directories
        closedir(listing);
        unlinkat(parent, name, AT_REMOVEDIR);
}

// Nobody but QEMU's user and root may enter: the socket shows the whole disk.
static int make_directory(struct live_backup *backup, const xmlNode *domain, struct error *err) {
        const struct live_backup_request *request = &backup->request;
        unsigned user, group;
        _cleanup_(free_p) char *directory = memory_format("%s/%s", request->directory, request->job);
        backup->socket = memory_format("%s/socket", directory);
        if (strlen(backup->socket) >= sizeof(((struct sockaddr_un *) NULL)->sun_path))
                return error_set(err, ERROR_TOO_LARGE, "the directory '%s' has too long a name for sockets",
                                 request->directory);
        if (mkdir(request->directory, 0700) == 0) {
                if (chmod(request->directory, 0711) < 0) // whatever the umask is
                        return error_errno(err, errno, "let QEMU's user into %s", request->directory);
        } else if (errno != EEXIST) {
                return error_errno(err, errno, "make %s", request->directory);
        }
        if (mkdir(directory, 0700) < 0)
                return error_errno(err, errno, "make %s", directory);
        backup->directory = steal(&directory); // to be removed at the end
        if (live_disks_owner(domain, &user, &group) && chown(backup->directory, user, group) < 0)
                return error_errno(err, errno, "give %s to QEMU's user", backup->directory);
        return 0;
}

// ---- jobs ----

// The socket of the VM's backup job, or NULL when there is none.
static char *job_socket(virDomainPtr domain) {
        _cleanup_(free_p) char *xml = virDomainBackupGetXMLDesc(domain, 0);
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        if (!xml || tree_parse("the backup job", xml, strlen(xml), &doc, NULL) < 0)
                return NULL;
        return tree_find_attribute(xmlDocGetRootElement(doc), "server", "socket");
}

static bool is_ours(const struct live_backup *backup) {
        _cleanup_(free_p) char *socket = job_socket(backup->request.domain);
        return socket && strcmp(socket, backup->socket) == 0;
}

// A job of ours that nobody is at any more: 1 it is ended, 0 there is none, -1.
static int end_left(virDomainPtr domain, const char *directory) {
        _cleanup_(free_p) char *socket = job_socket(domain), *begin = memory_format("%s/", directory);
        if (!socket || strncmp(socket, begin, strlen(begin)) != 0)
                return 0;
        return virDomainAbortJob(domain) < 0 ? -1 : 1;
}

static unsigned seconds_to_wait(const struct live_backup_request *request) {
        return request->wait_seconds ? request->wait_seconds : LIVE_BACKUP_WAIT_SECONDS;
}

// Fault 32. 1: there was one, which has ended; 0: there was none.
static int wait_for_others(const struct live_backup_request *request, uint64_t deadline, struct error *err) {
        for (int waited = 0;; waited = 1) {
                virDomainJobInfo info;
                if (virDomainGetJobInfo(request->domain, &info) < 0)
                        return connection_error(err, "ask for the VM's job");
                if (info.type == VIR_DOMAIN_JOB_NONE)
                        return waited;
                if (request->cancelled && request->cancelled(request->data))
                        return error_set(err, ERROR_CANCELLED, "cancelled while another job on the VM was running");
                if (clock_ms(&system_clock) >= deadline) {
                        error_set(err, ERROR_BUSY, "another job on the VM did not end within %u s",
                                  seconds_to_wait(request));
                        error_hint(err, "on the host: virsh domjobinfo VM, virsh domjobabort VM");
                        return -1;
                }
                nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
        }
}

// ---- beginning ----

static int read_definition(virDomainPtr domain, xmlDoc **ret, struct error *err) {
        _cleanup_(free_p) char *xml = virDomainGetXMLDesc(domain, 0);
        if (!xml)
                return connection_error(err, "read the definition");
        return tree_parse("the definition", xml, strlen(xml), ret, err);
}

static int read_sizes(struct live_backup *backup, struct error *err) {
        for (unsigned i = 0; i < backup->n_disks; i++) {
                virDomainBlockInfo info;
                struct live_disk *disk = &backup->disks[i];
                if (disk->left_out)
                        continue;
                if (virDomainGetBlockInfo(backup->request.domain, disk->target, &info, 0) < 0)
                        return connection_error(err, "ask for a disk's size");
                disk->bytes = info.capacity;
        }
        return 0;
}

// QEMU refuses to go back to an internal snapshot while a bitmap is there, and libvirt has ended the VM by then.
static void drop_all(const struct live_backup *backup, struct checkpoints *checkpoints) {
        for (unsigned i = 0; i < checkpoints->n; i++) {
                const char *name = checkpoints->items[i].name;
                struct error error = ERROR_INIT;
                if (checkpoint_drop(backup->request.domain, name, &error) < 0)
                        tell(&backup->request, "the checkpoint %s keeps the VM from going back to its snapshots: %s",
                             name, error.message);
                else
                        tell(&backup->request,
                             "the checkpoint %s was removed, so that the VM can go back to its snapshots", name);
        }
}

// Those that no disk's bitmap stands behind tell nothing, and would be in the way of nothing but order.
static void drop_useless(const struct live_backup *backup, struct checkpoints *checkpoints) {
        for (unsigned i = 0; i < checkpoints->n; i++) {
                const struct checkpoint *checkpoint = &checkpoints->items[i];
                struct error error = ERROR_INIT;
                if (!checkpoint->known || checkpoint->n_good > 0)
                        continue;
                if (checkpoint_drop(backup->request.domain, checkpoint->name, &error) < 0)
                        tell(&backup->request, "the checkpoint %s tells nothing and stays for now: %s",
                             checkpoint->name, error.message);
                else
                        tell(&backup->request, "the checkpoint %s %s and was removed", checkpoint->name,
                             checkpoint->moved ? "was of other disks" : "had lost its bitmap");
        }
}

// Fault 28.
static void tell_full(const struct live_backup *backup, const char *base) {
        for (unsigned i = 0; base && i < backup->n_disks; i++) {
                struct live_disk *disk = &backup->disks[i];
                if (!disk->checkpointed || disk->incremental)
                        continue;
                snprintf(disk->why, sizeof disk->why, "read in full: its record of what changed since %s is not usable",
                         base);
                tell(&backup->request, "%s is %s", disk->target, disk->why);
        }
}

// A name stands for one moment for ever: the VM may be defined anew or be backed up into several repositories, and what
// one of them takes for its base must not be another one's. By the clock, and by what is there should it have gone
// back.
static uint64_t next_number(const struct live_backup *backup, const struct checkpoints *checkpoints) {
        uint64_t number = 0, base = 0;
        int64_t now = clock_wall_ms();
        if (backup->request.base)
                checkpoint_name_parse(backup->request.base, &base);
        if (checkpoints->n > 0)
                number = checkpoints->items[checkpoints->n - 1].number;
        if (base > number)
                number = base;
        number++;
        return now > 0 && (uint64_t) now > number ? (uint64_t) now : number;
}

static int plan(struct live_backup *backup, const xmlNode *definition, struct error *err) {
        const struct live_backup_request *request = &backup->request;
        struct checkpoints checkpoints;
        int snapshots = virDomainSnapshotNum(request->domain, VIR_DOMAIN_SNAPSHOT_LIST_INTERNAL);
        if (snapshots < 0)
                return connection_error(err, "count the snapshots");
        if (checkpoints_read(request->domain, definition, &checkpoints, err) < 0)
                return -1;
        const struct checkpoint *base = request->base ? checkpoints_find(&checkpoints, request->base) : NULL;
        live_disks_plan(backup->disks, backup->n_disks, base, snapshots > 0);
        tell_full(backup, request->base);
        bool any = false;
        for (unsigned i = 0; i < backup->n_disks; i++)
                any |= backup->disks[i].checkpointed;
        backup->checkpoint[0] = '\0';
        if (any)
                snprintf(backup->checkpoint, sizeof backup->checkpoint, "drover-%" PRIu64,
                         next_number(backup, &checkpoints));
        if (snapshots > 0)
                drop_all(backup, &checkpoints);
        else
                drop_useless(backup, &checkpoints);
        checkpoints_fini(&checkpoints);
        return 0;
}

static int require_disks(const struct live_backup *backup, struct error *err) {
        for (unsigned i = 0; i < backup->n_disks; i++)
                if (!backup->disks[i].left_out)
                        return 0;
        return error_set(err, ERROR_REFUSED, "the VM has no disk of its own");
}

// By the definition as it is now: once more whenever somebody else's job has had the VM meanwhile.
static int prepare(struct live_backup *backup, xmlDoc **ret_doc, struct error *err) {
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        if (read_definition(backup->request.domain, &doc, err) < 0)
                return -1;
        const xmlNode *root = xmlDocGetRootElement(doc);
        free(steal(&backup->disks));
        free(steal(&backup->sources));
        backup->n_disks = 0;
        if (live_disks_read(root, &backup->disks, &backup->n_disks, &backup->sources, err) < 0 ||
            require_disks(backup, err) < 0 || read_sizes(backup, err) < 0 || plan(backup, root, err) < 0)
                return -1;
        *ret_doc = steal(&doc);
        return 0;
}

// ---- the moment itself ----

static int begin_job(struct live_backup *backup, struct error *err) {
        const struct live_backup_request *request = &backup->request;
        _cleanup_(free_p) char *job = live_disks_backup_xml(backup, request->base),
                               *checkpoint = backup->checkpoint[0] ? live_disks_checkpoint_xml(backup) : NULL;
        struct error why = ERROR_INIT;
        struct freeze *freeze = NULL;
        int frozen = freeze_begin(request->domain, request->journal, request->job, request->freeze_ms, &freeze, &why);
        if (frozen < 0) {
                if (err)
                        *err = why;
                return -1;
        }
        int status = virDomainBackupBegin(request->domain, job, checkpoint, 0);
        if (status < 0)
                connection_error(err, "begin the backup");
        backup->consistent = frozen == 0 && freeze_end(freeze, &backup->frozen_ms, &why) == 0;
        snprintf(backup->why, sizeof backup->why, "%.*s", (int) sizeof backup->why - 1, why.message);
        return status;
}

// "Bitmap already exists: drover-7": one that libvirt has no record of (fault 29). 0: removed. tried: the name that
// this was done for last; a bitmap that is in the way all the same cannot be removed.
static int drop_stray(const struct live_backup *backup, const struct error *failure, char tried[CHECKPOINT_NAME_MAX]) {
        const char *targets[CHECKPOINT_DISKS_MAX];
        unsigned n = 0;
        struct error error = ERROR_INIT;
        _cleanup_(free_p) char *says = memory_format("Bitmap already exists: %s", backup->checkpoint);
        if (!backup->checkpoint[0] || !strstr(failure->message, says))
                return -1;
        if (strcmp(tried, backup->checkpoint) == 0) {
                tell(&backup->request, "a bitmap %s without a checkpoint is still there", tried);
                return -1;
        }
        memcpy(tried, backup->checkpoint, CHECKPOINT_NAME_MAX);
        for (unsigned i = 0; i < backup->n_disks; i++)
                if (backup->disks[i].checkpointed)
                        targets[n++] = backup->disks[i].target;
        if (checkpoint_drop_stray(backup->request.domain, backup->checkpoint, targets, n, &error) < 0) {
                tell(&backup->request, "a bitmap %s without a checkpoint stays: %s", backup->checkpoint, error.message);
                return -1;
        }
        tell(&backup->request, "a bitmap %s without a checkpoint was removed", backup->checkpoint);
        return 0;
}

// The next name, if a bitmap of this one cannot be had out of the way.
static bool skip_name(struct live_backup *backup, const struct error *failure) {
        uint64_t number;
        if (!strstr(failure->message, "already exists") || !checkpoint_name_parse(backup->checkpoint, &number))
                return false;
        snprintf(backup->checkpoint, sizeof backup->checkpoint, "drover-%" PRIu64, number + 1);
        return true;
}

// A bitmap that looked good may be refused all the same: then everything is read.
static bool give_up_base(struct live_backup *backup, const struct error *failure) {
        bool any = false;
        if (failure->code != ERROR_LIBVIRT && failure->code != ERROR_NOT_FOUND)
                return false;
        for (unsigned i = 0; i < backup->n_disks; i++) {
                any |= backup->disks[i].incremental;
                backup->disks[i].incremental = false;
        }
        if (any) {
                tell(&backup->request, "the checkpoint %s is refused: %s", backup->request.base, failure->message);
                tell_full(backup, backup->request.base);
        }
        return any;
}

// Somebody else's job, since we looked: while the guest was being frozen (fault 32).
static bool another_began(const struct live_backup *backup, uint64_t deadline, const struct error *failure) {
        virDomainPtr domain = backup->request.domain;
        virDomainJobInfo info;
        if (failure->code != ERROR_CONFLICT && failure->code != ERROR_TIMEOUT)
                return false;
        return clock_ms(&system_clock) < deadline && virDomainIsActive(domain) == 1 &&
               virDomainGetJobInfo(domain, &info) == 0 && info.type != VIR_DOMAIN_JOB_NONE;
}

static int begin_with_repairs(struct live_backup *backup, uint64_t deadline, struct error *err) {
        char tried[CHECKPOINT_NAME_MAX] = "";
        bool again = false;
        for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
                struct error error = ERROR_INIT;
                _cleanup_(tree_free_p) xmlDoc *doc = NULL;
                int waited = wait_for_others(&backup->request, deadline, err);
                if (waited < 0 || ((waited > 0 || again) && prepare(backup, &doc, err) < 0))
                        return -1;
                if (begin_job(backup, &error) == 0)
                        return 0;
                again = another_began(backup, deadline, &error);
                if (again || drop_stray(backup, &error, tried) == 0 || skip_name(backup, &error) ||
                    give_up_base(backup, &error))
                        continue;
                if (err)
                        *err = error;
                return -1;
        }
        return error_set(err, ERROR_LIBVIRT, "begin the backup: the VM's checkpoints cannot be put in order");
}

static void backup_free(struct live_backup *backup) {
        free(backup->disks);
        free(backup->directory);
        free(backup->socket);
        free(backup->name);
        free(backup->sources);
        virDomainFree(backup->request.domain);
        free(backup);
}

// One that lost libvirt, and could not end its job.
static void end_former(const struct live_backup_request *request) {
        if (end_left(request->domain, request->directory) > 0)
                tell(request, "a backup of the VM that was left was ended");
}

static int require_running(const struct live_backup *backup, struct error *err) {
        int active = virDomainIsActive(backup->request.domain);
        if (active < 0)
                return connection_error(err, "ask for the VM's state");
        return active ? 0 : error_set(err, ERROR_CONFLICT, "the VM is off");
}

int live_backup_begin(const struct live_backup_request *request, struct live_backup **ret, struct error *err) {
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        struct live_backup *backup = new (struct live_backup);
        backup->request = *request;
        virDomainRef(request->domain);
        backup->name = memory_string(virDomainGetName(request->domain));
        backup->persistent = virDomainIsPersistent(request->domain) == 1;
        uint64_t deadline = clock_ms(&system_clock) + seconds_to_wait(request) * 1000ull;
        int status = require_running(backup, err);
        if (status == 0)
                end_former(request);
        if (status == 0 && wait_for_others(request, deadline, err) < 0)
                status = -1;
        if (status == 0)
                status = prepare(backup, &doc, err);
        if (status == 0)
                status = make_directory(backup, xmlDocGetRootElement(doc), err);
        if (status == 0)
                status = begin_with_repairs(backup, deadline, err);
        if (status < 0) {
                live_backup_end(backup);
                return -1;
        }
        *ret = backup;
        return 0;
}

void live_backup_export(const struct live_backup *backup, unsigned n, const char **ret_socket, const char **ret_name,
                        const char **ret_bitmap) {
        const struct live_disk *disk = &backup->disks[n];
        *ret_socket = backup->socket;
        *ret_name = disk->target;
        *ret_bitmap = disk->incremental ? disk->bitmap : NULL;
}

// ---- the end ----

static int same_disks(const struct live_backup *backup, struct error *err) {
        _cleanup_(tree_free_p) xmlDoc *doc = NULL;
        _cleanup_(free_p) struct live_disk *disks = NULL;
        _cleanup_(free_p) char *sources = NULL;
        unsigned n;
        if (read_definition(backup->request.domain, &doc, err) < 0 ||
            live_disks_read(xmlDocGetRootElement(doc), &disks, &n, &sources, err) < 0)
                return -1;
        if (strcmp(sources, backup->sources) != 0)
                return error_set(err, ERROR_CONFLICT, "the VM got other disks during the backup");
        for (unsigned i = 0; i < backup->n_disks; i++) {
                virDomainBlockInfo info;
                const struct live_disk *disk = &backup->disks[i];
                if (disk->left_out)
                        continue;
                if (virDomainGetBlockInfo(backup->request.domain, disk->target, &info, 0) < 0)
                        return connection_error(err, "ask for a disk's size");
                if (info.capacity != disk->bytes)
                        return error_set(err, ERROR_CONFLICT, "%s got another size during the backup", disk->target);
        }
        return 0;
}

// QEMU keeps nothing of what is overwritten once its part of the job is over, and shows what is there then, until
// libvirt hears of it and ends the rest.
static int jobs_last(const struct live_backup *backup, struct error *err) {
        for (unsigned i = 0; i < backup->n_disks; i++) {
                virDomainBlockJobInfo info;
                if (backup->disks[i].left_out)
                        continue;
                int found = virDomainGetBlockJobInfo(backup->request.domain, backup->disks[i].target, &info, 0);
                if (found < 0)
                        return connection_error(err, "ask for a disk's job");
                if (found == 0 || info.type != VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP)
                        return error_set(err, ERROR_CONFLICT, "the backup job was ended by somebody else");
        }
        return 0;
}

int live_backup_check(const struct live_backup *backup, struct error *err) {
        unsigned char uuid[VIR_UUID_BUFLEN];
        virDomainPtr domain = backup->request.domain;
        if (virDomainGetUUID(domain, uuid) < 0)
                return connection_error(err, "ask for the VM's UUID");
        _cleanup_(domain_free_p) virDomainPtr now = virDomainLookupByUUID(virDomainGetConnect(domain), uuid);
        if (!now) {
                struct error error = ERROR_INIT;
                connection_error(&error, "look for the VM");
                if (error.code == ERROR_NOT_FOUND)
                        return error_set(err, ERROR_CONFLICT, "the VM was undefined during the backup");
                if (err)
                        *err = error;
                return -1;
        }
        if (strcmp(virDomainGetName(now), backup->name) != 0)
                return error_set(err, ERROR_CONFLICT, "the VM was renamed during the backup");
        if (virDomainIsActive(now) == 0)
                return error_set(err, ERROR_CONFLICT, "the VM ended during the backup");
        if (backup->persistent && virDomainIsPersistent(now) == 0)
                return error_set(err, ERROR_CONFLICT, "the VM was undefined during the backup");
        if (!is_ours(backup))
                return error_set(err, ERROR_CONFLICT, "the backup job was ended by somebody else, or the VM restarted");
        return same_disks(backup, err) < 0 ? -1 : jobs_last(backup, err);
}

void live_backup_end(struct live_backup *backup) {
        if (!backup)
                return;
        if (backup->socket && is_ours(backup))
                virDomainAbortJob(backup->request.domain);
        if (backup->directory)
                remove_directory(AT_FDCWD, backup->directory);
        backup_free(backup);
}

// ---- what was left ----

static void empty(const char *directory) {
        DIR *listing = opendir(directory);
        if (!listing)
                return;
        for (const struct dirent *entry; (entry = readdir(listing));)
                if (entry->d_name[0] != '.')
                        remove_directory(dirfd(listing), entry->d_name);
        closedir(listing);
}

int live_backup_recover(virConnectPtr conn, const char *directory, struct error *err) {
        virDomainPtr *domains = NULL;
        int n = virConnectListAllDomains(conn, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE), ended = 0, status = 0;
        if (n < 0)
                return connection_error(err, "list the VMs");
        for (int i = 0; i < n; i++) {
                int r = end_left(domains[i], directory);
                if (r < 0)
                        status = connection_error(err, "end a backup that was left");
                else
                        ended += r;
                virDomainFree(domains[i]);
        }
        free(domains);
        if (status == 0) // a job that goes on still writes there
                empty(directory);
        return status < 0 ? -1 : ended;
}
