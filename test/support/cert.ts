import { execFileSync } from "node:child_process";
import { chmodSync } from "node:fs";
import { join } from "node:path";

/** Makes a self-signed EC certificate for `hostname` in `dir`, by openssl. */
export function makeCertificate(
  dir: string,
  hostname: string,
): { readonly cert: string; readonly key: string } {
  const cert = join(dir, `${hostname}.crt`);
  const key = join(dir, `${hostname}.key`);
  execFileSync(
    "openssl",
    [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:prime256v1",
      "-nodes",
      "-days",
      "2",
    ].concat([
      "-subj",
      `/CN=${hostname}`,
      "-addext",
      `subjectAltName=DNS:${hostname}`,
      "-keyout",
      key,
      "-out",
      cert,
    ]),
    { stdio: "pipe" },
  );
  chmodSync(key, 0o600);
  return { cert, key };
}
