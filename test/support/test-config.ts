import { type Config, configSchema } from "../../src/config/schema.ts";

/** The effective configuration of a host mx.reporter.example, with the given settings over the defaults. */
export function testConfig(settings: Record<string, unknown> = {}): Config {
  const raw = configSchema.parse(settings);
  const domain = raw.report.domain ?? "reporter.example";
  return {
    ...raw,
    hostname: "mx.reporter.example",
    file: null,
    runtime_directory: "/nonexistent",
    smtp: { ...raw.smtp, banner: "mx.reporter.example" },
    report: {
      ...raw.report,
      domain,
      submitter: raw.report.submitter ?? "mx.reporter.example",
      org_name: raw.report.org_name ?? "Reporter",
      from: raw.report.from ?? `noreply-reports@${domain}`,
    },
    deliver: { ...raw.deliver, hostname: "mx.reporter.example" },
    control: { ...raw.control, socket: "/nonexistent/control.sock" },
  };
}
