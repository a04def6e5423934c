# SPDX-License-Identifier: LGPL-2.1-or-later
"""scp and rsync over ssh, with an sshd and keys of their own on each host. Their time includes the sync of the target's file, as
everybody's here."""

import subprocess
import time
from pathlib import Path

PORT = 10822
CONFIG = """\
Port {port}
HostKey {work}/host_key
PidFile none
AuthorizedKeysFile {work}/user_key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UseDNS no
Subsystem sftp internal-sftp
"""


class Ssh:
    def __init__(self, lab, work):
        self.lab = lab
        self.work = Path(work) / "ssh"
        self.servers = {}
        self.work.mkdir(mode=0o755)
        for name in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.work / name], check=True)
        (self.work / "sshd_config").write_text(CONFIG.format(port=PORT, work=self.work))
        self.options = ["-F", "none", "-i", f"{self.work}/user_key", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                        "-o", "LogLevel=ERROR", "-o", f"Port={PORT}"]

    def serve(self, host):
        """An sshd on the host, once."""
        if host in self.servers:
            return
        self.lab.exec(host, "mkdir", "-p", "/run/sshd")
        self.servers[host] = self.lab.popen(host, "/usr/sbin/sshd", "-D", "-e", "-f", self.work / "sshd_config", stderr=subprocess.DEVNULL)
        for _ in range(100):
            if self.lab.exec(host, "sh", "-c", f"ss -ltn | grep -q :{PORT}", check=False).returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError(f"{host}: sshd did not come up")

    def stop(self):
        for server in self.servers.values():
            server.terminate()
            server.wait()
        self.servers.clear()

    def timed(self, source, target, target_file, *command):
        self.serve(target)
        try:
            begun = time.monotonic()
            self.lab.exec(source, *command)
            self.lab.exec(target, "sync", target_file)
            return time.monotonic() - begun
        finally:
            self.lab.exec(target, "rm", "-f", target_file)

    def scp(self, source, source_file, target, target_file):
        return self.timed(source, target, target_file, "scp", "-q", *self.options, source_file, f"{self.lab.address(target)}:{target_file}")

    def rsync(self, source, source_file, target, target_file):
        """For a slow line: --inplace -z --zc=zstd. Nothing is at the target before."""
        return self.timed(source, target, target_file, "rsync", "--inplace", "-z", "--zc=zstd", "-e", " ".join(["ssh", *self.options]),
                          source_file, f"root@{self.lab.address(target)}:{target_file}")
