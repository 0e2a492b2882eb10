/** A Postfix of our own: its own queue, ports and configuration, one instance a test. Needs root, as Postfix does. */
import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { program, root } from "./have.ts";

/** What these tests need. */
export const POSTFIX = [program("postfix"), root()];

export interface PostfixOptions {
  /** Domains that are delivered to the mailbox. */
  readonly domains: readonly string[];
  /** `[host]:port` that all other mail is sent to. */
  readonly relayHost?: string;
  /** PEM files; with them STARTTLS is offered. */
  readonly certificate?: string;
  readonly key?: string;
  /** Further main.cf lines. */
  readonly extra?: readonly string[];
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export class Postfix {
  readonly dir: string;
  readonly port: number;

  private constructor(dir: string, port: number) {
    this.dir = dir;
    this.port = port;
  }

  static async start(options: PostfixOptions): Promise<Postfix> {
    const dir = mkdtempSync(join(tmpdir(), "postfix-"));
    chmodSync(dir, 0o755);
    const port = await freePort();
    const [uid, gid] = ["-u", "-g"].map((flag) => Number(execFileSync("id", [flag, "postfix"]).toString()));
    for (const name of ["etc", "queue", "data", "mail", "log"]) mkdirSync(join(dir, name), { mode: 0o755 });
    for (const name of ["data", "mail"]) chownSync(join(dir, name), uid!, gid!);
    const tls = options.certificate
      ? [
          "smtpd_tls_security_level = may",
          `smtpd_tls_cert_file = ${options.certificate}`,
          `smtpd_tls_key_file = ${options.key}`,
          "smtpd_tls_received_header = yes",
          "smtpd_tls_loglevel = 1",
        ]
      : [];
    writeFileSync(
      join(dir, "etc", "main.cf"),
      [
        "compatibility_level = 3.6",
        `queue_directory = ${dir}/queue`,
        `data_directory = ${dir}/data`,
        `maillog_file = ${dir}/log/maillog`,
        `maillog_file_prefixes = ${tmpdir()}`,
        "mail_owner = postfix",
        "inet_interfaces = 127.0.0.1",
        "inet_protocols = ipv4",
        "myhostname = postfix.example",
        "mydestination =",
        "alias_maps =",
        "alias_database =",
        "mynetworks = 127.0.0.0/8",
        `virtual_mailbox_domains = ${options.domains.join(", ")}`,
        `virtual_mailbox_base = ${dir}/mail`,
        "virtual_mailbox_maps = static:inbox/",
        `virtual_uid_maps = static:${uid}`,
        `virtual_gid_maps = static:${gid}`,
        `virtual_minimum_uid = 1`,
        `relayhost = ${options.relayHost ?? ""}`,
        "smtp_tls_security_level = may",
        "smtp_tls_loglevel = 1",
        "smtp_host_lookup = native",
        "disable_dns_lookups = yes",
        "minimal_backoff_time = 1s",
        "queue_run_delay = 1s",
        ...tls,
        ...(options.extra ?? []),
        "",
      ].join("\n"),
    );
    writeFileSync(
      join(dir, "etc", "master.cf"),
      `127.0.0.1:${port} inet n - n - - smtpd
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`,
    );
    const ran = spawnSync("postfix", ["-c", join(dir, "etc"), "start"], { encoding: "utf8" });
    if (ran.status !== 0) throw new Error(`postfix start: ${ran.stderr}\n${Postfix.#log(dir)}`);
    return new Postfix(dir, port);
  }

  /** Submits a message to this Postfix, as a local program does. */
  send(from: string, to: string, message: Uint8Array): void {
    execFileSync("sendmail", ["-C", join(this.dir, "etc"), "-f", from, "-i", to], {
      input: message,
      env: { ...process.env, MAIL_CONFIG: join(this.dir, "etc") },
    });
  }

  /** Messages that were delivered to the mailbox. */
  inbox(): string[] {
    const folder = join(this.dir, "mail", "inbox", "new");
    try {
      return readdirSync(folder).map((name) => readFileSync(join(folder, name), "latin1"));
    } catch {
      return []; // the first message makes the folder
    }
  }

  log(): string {
    return Postfix.#log(this.dir);
  }

  static #log(dir: string): string {
    try {
      return readFileSync(join(dir, "log", "maillog"), "utf8");
    } catch {
      return "(no log)";
    }
  }

  stop(): void {
    spawnSync("postfix", ["-c", join(this.dir, "etc"), "stop"]);
    rmSync(this.dir, { recursive: true, force: true });
  }
}
