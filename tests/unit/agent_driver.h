// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once
/*
 * libvirt's test driver as the host of a VM that comes from another. It knows no other type of domain than its own, and
 * nothing but kvm and qemu may come: here a "qemu" domain is one of the driver's. These stand before libvirt's own when
 * the program is linked. Include in one file of a program, after cmocka.h.
 */
#include "common/cleanup.h"
#include "common/memory.h"
#include <libvirt/libvirt.h>
#include <string.h>

char *virConnectGetCapabilities(virConnectPtr conn) {
        (void) conn;
        return memory_string("<capabilities><host><secmodel><model>dac</model><doi>0</doi>"
                             "<baselabel type='kvm'>+64055:+109</baselabel></secmodel></host>"
                             "<guest><os_type>hvm</os_type><arch name='x86_64'><machine>pc</machine>"
                             "<domain type='qemu'/></arch></guest></capabilities>");
}

virDomainPtr virDomainDefineXMLFlags(virConnectPtr conn, const char *xml, unsigned flags) {
        assert_int_equal(flags, VIR_DOMAIN_DEFINE_VALIDATE);
        _cleanup_(free_p) char *copy = memory_string(xml);
        char *type = strstr(copy, "type=\"qemu\"");
        assert_non_null(type);
        memcpy(type, "type=\"test\"", strlen("type=\"test\""));
        return virDomainDefineXML(conn, copy);
}
