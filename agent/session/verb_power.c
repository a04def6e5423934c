// SPDX-License-Identifier: LGPL-2.1-or-later
/* Verbs about one domain where it is: power, autostart, its definition. On workers. */
#include "agent/host/definition.h"
#include "agent/host/power.h"
#include "agent/session/verb_runs.h"
#include "common/cleanup.h"
#include "common/memory.h"

#include <string.h>

static int find_domain(virConnectPtr conn, const char *uuid, virDomainPtr *ret, struct error *err) {
        virDomainPtr domain = virDomainLookupByUUIDString(conn, uuid);
        if (!domain)
                return connection_error(err, "find the VM");
        *ret = domain;
        return 0;
}

// A VM that a job has fenced here has no disks under their names; libvirt's own error would not say why.
static int refuse_fenced(const struct verb_call *call, struct error *err) {
        char job[33];
        if (journal_fenced_by(call->host->journal, call->request->vm_uuid, job, err) < 0)
                return -1;
        if (!*job)
                return 0;
        error_set(err, ERROR_CONFLICT, "the VM is in the hands of job %s, which is moving it away", job);
        error_hint(err, "drover job show %s", job);
        return -1;
}

int verb_domain_power(struct verb_call *call, struct error *err) {
        const Drover__DomainPower *power = call->request->domain_power;
        if (power->action == DROVER__POWER_ACTION__POWER_START && refuse_fenced(call, err) < 0)
                return -1;
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0 ||
            find_domain(conn, call->request->vm_uuid, &domain, err) < 0)
                return -1;
        return power_act(domain, power->action, power->timeout_seconds, call->cancelled, call->data, err);
}

// Without VIR_DOMAIN_XML_SECURE: passwords in a definition are not for whoever may look at a VM.
int verb_domain_xml(struct verb_call *call, struct error *err) {
        _cleanup_(connection_put_p) virConnectPtr conn = NULL;
        _cleanup_(domain_free_p) virDomainPtr domain = NULL;
        if (connection_get(call->host->connection, &conn, err) < 0 ||
            find_domain(conn, call->request->vm_uuid, &domain, err) < 0)
                return -1;
        unsigned flags = call->request->domain_xml->live ? 0 : VIR_DOMAIN_XML_INACTIVE;
        _cleanup_(free_p) char *xml = virDomainGetXMLDesc(domain, flags);
        if (!xml)
                return connection_error(err, "read the definition");
        size_t length = strlen(xml);
        if (length > DEFINITION_MAX)
                return error_set(err, ERROR_TOO_LARGE, "the definition has %zu bytes; at most %u are handled", length,
                                 DEFINITION_MAX);
        Drover__DomainXmlResult *value = new (Drover__DomainXmlResult);
        drover__domain_xml_result__init(value);
        value->xml = (ProtobufCBinaryData){.len = length, .data = (uint8_t *) steal(&xml)};
        call->result->value_case = DROVER__AGENT_RESULT__VALUE_DOMAIN_XML;
        call->result->domain_xml = value;
        return 0;
}
