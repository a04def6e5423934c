# SPDX-License-Identifier: LGPL-2.1-or-later
"""The peer: nbdcopy over TLS with certificates on both sides, qemu-nbd at both ends, in the laboratory's hosts."""

import json
import subprocess
import time
from pathlib import Path

PORT = 10809


def openssl(folder, *argv):
    subprocess.run(["openssl", *map(str, argv)], cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_certificates(folder, address):
    """A CA, a server for `address` and a client, under the names that qemu and libnbd look for."""
    folder.mkdir(parents=True, exist_ok=True)
    openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 2, "-subj", "/CN=bench",
            "-keyout", "ca-key.pem", "-out", "ca-cert.pem")
    for name, extension in (("server", f"subjectAltName=IP:{address}\nextendedKeyUsage=serverAuth"), ("client", "extendedKeyUsage=clientAuth")):
        (folder / f"{name}.ext").write_text(extension + "\n")
        openssl(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", f"{name}-key.pem", "-out", f"{name}.csr")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca-cert.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-days", 2,
                "-extfile", f"{name}.ext", "-out", f"{name}-cert.pem")


def wait_socket(lab, node, test):
    for _ in range(200):
        if lab.exec(node, "sh", "-c", test, check=False).returncode == 0:
            return
        time.sleep(0.05)
    raise RuntimeError(f"{node}: qemu-nbd did not come up")


def copy(lab, source, source_file, target, target_file, certificates):
    """Seconds that nbdcopy takes, flush included."""
    tls = f"tls-creds-x509,id=tls0,endpoint=server,dir={certificates},verify-peer=yes"
    sock = f"{target_file}.sock"
    length = json.loads(lab.exec(source, "qemu-img", "info", "--output=json", source_file).stdout)["virtual-size"]
    lab.exec(target, "qemu-img", "create", "-q", "-f", "qcow2", target_file, str(length))
    servers = [lab.popen(source, "qemu-nbd", "-r", "-f", "qcow2", "-t", "-e", "8", "--object", tls, "--tls-creds", "tls0", "-p", str(PORT), source_file),
               lab.popen(target, "qemu-nbd", "-f", "qcow2", "-t", "-e", "8", "-k", sock, target_file)]
    try:
        wait_socket(lab, source, f"ss -ltn | grep -q :{PORT}")
        wait_socket(lab, target, f"test -S {sock}")
        begun = time.monotonic()
        lab.exec(target, "nbdcopy", "--flush", f"nbds://{lab.address(source)}:{PORT}/?tls-certificates={certificates}", f"nbd+unix:///?socket={sock}")
        return time.monotonic() - begun
    finally:
        for server in servers:
            server.terminate()
        lab.exec(source, "pkill", "-x", "qemu-nbd", check=False)
        lab.exec(target, "pkill", "-x", "qemu-nbd", check=False)
        for server in servers:
            server.wait()
        lab.exec(target, "rm", "-f", target_file, sock)
