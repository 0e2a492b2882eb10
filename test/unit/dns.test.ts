import { describe, expect, it } from "vitest";
import { authorizeDestinations } from "../../src/dns/authorization.ts";
import { cachingResolver } from "../../src/dns/cache.ts";
import { mailHosts } from "../../src/dns/mx.ts";
import { discoverPolicy, organizationalDomain, parseDmarcRecord, walkNames } from "../../src/dns/policy.ts";
import { parseTlsrptRecord, tlsrptAt } from "../../src/dns/tlsrpt.ts";
import { readUris } from "../../src/dns/uri.ts";
import { parseZone, zoneResolver } from "../../src/dns/zone.ts";
import { FakeClock } from "../support/fake-clock.ts";

const zone = (...lines: string[]) => zoneResolver(parseZone(lines.join("\n")));

describe("a DMARC record", () => {
  const good = (text: string, tags: object): void => {
    it(`is read: ${text}`, () => expect(parseDmarcRecord(text)).toMatchObject(tags));
  };
  const bad = (text: string): void => {
    it(`is none: ${text}`, () => expect(parseDmarcRecord(text)).toBeUndefined());
  };
  good("v=DMARC1; p=reject", { p: "reject", sp: null, np: null, adkim: "r", aspf: "r", fo: "0", t: "n" });
  good("v = DMARC1 ; p = quarantine ; sp=reject;np=none", { p: "quarantine", sp: "reject", np: "none" });
  good("v=DMARC1;P=Reject;ADKIM=S;aspf=s;t=Y;psd=n", {
    p: "reject",
    adkim: "s",
    aspf: "s",
    t: "y",
    psd: "n",
  });
  good("v=DMARC1; p=none; fo=1:d:s; pct=50; x=y", { fo: "1:d:s" });
  good("v=DMARC1; p=none; fo=7; adkim=q; psd=maybe", { fo: "0", adkim: "r", psd: "u" });
  good("v=DMARC1; p=none; rua=mailto:a@b.example , mailto:c@d.example,", {
    rua: ["mailto:a@b.example", "mailto:c@d.example"],
  });
  good("v=DMARC1; p=reject; p=none", { p: "reject" });
  good("v=DMARC1; p=rejct; sp=reject; rua=mailto:a@b.example", { p: "none", sp: null });
  good("v=DMARC1; p=reject; sp=bad; rua=mailto:a@b.example", { p: "none", sp: null });
  good("v=DMARC1; rua=mailto:a@b.example", { p: "none" });
  bad("v=DMARC1");
  bad("v=DMARC1; p=rejct");
  bad("v=DMARC1; p=reject; np=bad");
  bad("v=dmarc1; p=none");
  bad("v=DMARC10; p=none");
  bad("p=none; v=DMARC1");
  bad("");
});

describe("the tree walk", () => {
  it("asks the name itself and all above it", () => {
    expect(walkNames("a.mail.example.com")).toEqual([
      "a.mail.example.com",
      "mail.example.com",
      "example.com",
      "com",
    ]);
    expect(walkNames("com")).toEqual(["com"]);
  });

  it("asks no more than eight questions for however many labels", () => {
    const names = walkNames("a.b.c.d.e.f.g.h.i.j.mail.example.com");
    expect(names).toHaveLength(8);
    expect(names[1]).toBe("g.h.i.j.mail.example.com");
    expect(names.at(-1)).toBe("com");
    expect(walkNames("b.c.d.e.f.mail.example.com")).toEqual([
      "b.c.d.e.f.mail.example.com",
      ...walkNames("c.d.e.f.mail.example.com"),
    ]);
  });

  const organization = (name: string, domain: string, questions: number, ...lines: string[]): void => {
    it(`finds ${domain} over ${name} in ${questions} questions with ${lines.join(" / ") || "no record"}`, async () => {
      const resolver = zone(...lines);
      expect(await organizationalDomain(resolver, name)).toEqual({ ok: true, domain });
      expect(resolver.asked).toHaveLength(questions);
    });
  };
  organization("a.example.com", "a.example.com", 3);
  organization("a.b.example.com", "example.com", 4, "_dmarc.example.com TXT v=DMARC1; p=none");
  organization(
    "a.b.example.com",
    "example.com",
    4,
    "_dmarc.example.com TXT v=DMARC1; p=none",
    "_dmarc.a.b.example.com TXT v=DMARC1; p=none",
  );
  organization("a.b.example.com", "b.example.com", 2, "_dmarc.b.example.com TXT v=DMARC1; p=none; psd=n");
  organization("a.b.bank.example", "b.bank.example", 3, "_dmarc.bank.example TXT v=DMARC1; p=none; psd=y");
  organization("bank.example", "bank.example", 1, "_dmarc.bank.example TXT v=DMARC1; p=none; psd=y");
  organization(
    "a.example.com",
    "a.example.com",
    3,
    "_dmarc.example.com TXT v=DMARC1; p=none",
    "_dmarc.example.com TXT v=DMARC1; p=reject",
  );

  it("ends at a temporary failure instead of guessing", async () => {
    const resolver = zone("_dmarc.b.example.com SERVFAIL", "_dmarc.example.com TXT v=DMARC1; p=none");
    expect(await organizationalDomain(resolver, "a.b.example.com")).toMatchObject({ ok: false });
    expect(resolver.asked).toHaveLength(2);
  });

  it("gives a name its own policy, else that of its organizational domain", async () => {
    const resolver = zone(
      "_dmarc.example.com TXT v=DMARC1; p=reject",
      "_dmarc.mail.example.com TXT v=DMARC1; p=none",
      "_dmarc.down.example SERVFAIL",
    );
    expect(await discoverPolicy(resolver, "mail.example.com")).toMatchObject({ domain: "mail.example.com" });
    expect(await discoverPolicy(resolver, "X.mail.Example.com.")).toMatchObject({ domain: "example.com" });
    expect(await discoverPolicy(resolver, "other.example")).toEqual({ found: false, failure: null });
    expect(await discoverPolicy(resolver, "down.example")).toMatchObject({ failure: { code: "temporary" } });
  });
});

describe("a report destination", () => {
  const verdict = (rua: string, expected: string, sent: readonly string[], ...lines: string[]): void => {
    it(`${rua} is ${expected} with ${lines.join(" / ") || "no record"}`, async () => {
      const { usable } = readUris([rua], false);
      const resolver = zone("_dmarc.example.com TXT v=DMARC1; p=none", ...lines);
      const [destination] = await authorizeDestinations(resolver, "example.com", usable);
      expect(destination?.verdict).toBe(expected);
      expect(destination?.send.map((uri) => (uri.scheme === "mailto" ? uri.address : uri.uri))).toEqual(sent);
    });
  };
  const name = "example.com._report._dmarc.agent.example";
  const outside = "mailto:d@agent.example";
  verdict("mailto:d@example.com", "internal", ["d@example.com"]);
  verdict("mailto:d@reports.example.com", "internal", ["d@reports.example.com"]);
  verdict(outside, "unauthorised", []);
  verdict(outside, "unauthorised", [], `${name} TXT yes`);
  verdict(outside, "unauthorised", [], `${name} TXT v=DMARC10`);
  verdict(outside, "authorised", ["d@agent.example"], `${name} TXT v=DMARC1`);
  verdict(outside, "authorised", ["d@agent.example"], "*._report._dmarc.agent.example TXT v=DMARC1;");
  verdict(outside, "authorised", ["d@agent.example"], `${name} TXT other`, `${name} TXT v=DMARC1;`);
  verdict(outside, "temporary", [], `${name} SERVFAIL`);
  verdict(outside, "temporary", [], "_dmarc.agent.example SERVFAIL");
  verdict(outside, "overridden", ["x@agent.example"], `${name} TXT v=DMARC1; rua=mailto:x@agent.example`);
  verdict(outside, "unauthorised", [], `${name} TXT v=DMARC1; rua=mailto:x@elsewhere.example`);
  verdict(
    outside,
    "unauthorised",
    [],
    `${name} TXT v=DMARC1; rua=mailto:x@agent.example,mailto:x@sub.agent.example`,
  );
  verdict(outside, "unauthorised", [], `${name} TXT v=DMARC1; rua=nonsense`);
});

describe("a report URI", () => {
  const good = (text: string, expected: object, https = false): void => {
    it(`is used: ${text}`, () =>
      expect(readUris([text], https)).toMatchObject({ usable: [expected], refused: [] }));
  };
  const bad = (text: string, why: string, https = false): void => {
    it(`is refused: ${text}`, () =>
      expect(readUris([text], https)).toEqual({ usable: [], refused: [{ uri: text, why }] }));
  };
  good("mailto:Dmarc@Example.COM", { address: "Dmarc@example.com", host: "example.com" });
  good("MAILTO:a@b.example!10m", { address: "a@b.example" });
  good("mailto:a%2Bb@c.example?subject=x", { address: "a+b@c.example" });
  good("https://reports.example/v1", { scheme: "https", host: "reports.example" }, true);
  bad("https://reports.example/v1", "https is not for DMARC reports");
  bad("https://user:pw@reports.example/", "not a usable https address", true);
  bad("https://[", "malformed", true);
  bad("http://reports.example/", "unsupported scheme", true);
  bad("a@b.example", "unsupported scheme");
  bad("mailto:nobody", "not an address");
  bad("mailto:a%zz@b.example", "not an address");
  bad("mailto:a@b.example%0d%0aRCPT", "not an address");

  it("counts once however often it stands there, and ten are enough", () => {
    const same = readUris(["mailto:a@b.example", "mailto:a@B.example!5m"], false);
    expect(same.usable).toHaveLength(1);
    const many = readUris(
      Array.from({ length: 12 }, (_, i) => `mailto:a${i}@b.example`),
      false,
    );
    expect(many.usable).toHaveLength(10);
    expect(many.refused.map((r) => r.uri)).toEqual(["mailto:a10@b.example", "mailto:a11@b.example"]);
  });
});

describe("a TLSRPT record", () => {
  it("names its destinations", () => {
    expect(parseTlsrptRecord("v=TLSRPTv1; rua=mailto:a@b.example, https://c.example/r")).toEqual([
      "mailto:a@b.example",
      "https://c.example/r",
    ]);
    expect(parseTlsrptRecord("v=TLSRPTv1 ;ext=1;RUA = mailto:a@b.example;")).toEqual(["mailto:a@b.example"]);
    for (const text of [
      "v=TLSRPTv1",
      "v=TLSRPTv1; x=y",
      "v=TLSRPTv2; rua=mailto:a@b",
      "v=tlsrptv1; rua=mailto:a@b",
    ])
      expect(parseTlsrptRecord(text), text).toBeUndefined();
  });

  it("counts only when it is the only one of its version", async () => {
    const record = "_smtp._tls.example.com TXT v=TLSRPTv1; rua=mailto:a@b.example";
    const at = (...lines: string[]) => tlsrptAt(zone(...lines), "example.com");
    expect(await at(record)).toMatchObject({ found: true, rua: ["mailto:a@b.example"] });
    expect(await at(record, "_smtp._tls.example.com TXT hello")).toMatchObject({ found: true });
    expect(await at(record, "_smtp._tls.example.com TXT v=TLSRPTv10; rua=mailto:x@y.example")).toMatchObject({
      found: true,
    });
    expect(await at(record, record)).toEqual({ found: false, failure: null });
    expect(await at("_smtp._tls.example.com TXT v=TLSRPTv1; rua=")).toEqual({ found: false, failure: null });
    expect(await at("_smtp._tls.example.com SERVFAIL")).toMatchObject({ failure: { code: "temporary" } });
  });
});

describe("the mail hosts of a domain", () => {
  const options = { family: "any" as const, allowPrivate: false, random: () => 0 };
  const hosts = (lines: readonly string[], changed: Partial<Parameters<typeof mailHosts>[2]> = {}) =>
    mailHosts(zone(...lines), "example.com", { ...options, ...changed });
  const A = "mx.example.com A 9.9.9.9";
  const MX = "example.com MX 10 mx.example.com.";

  it("are tried by preference, six before four", async () => {
    const found = await hosts([
      "example.com MX 20 b.example.com.",
      MX,
      A,
      "mx.example.com AAAA 2620:fe::fe",
      "b.example.com A 8.8.8.8",
    ]);
    expect(found).toEqual({
      ok: true,
      hosts: [
        { host: "mx.example.com", addresses: ["2620:fe::fe", "9.9.9.9"] },
        { host: "b.example.com", addresses: ["8.8.8.8"] },
      ],
    });
  });

  it("of equal preference come in random order", async () => {
    const lines = [MX, A, "example.com MX 10 b.example.com.", "b.example.com A 8.8.8.8"];
    const order = async (...values: number[]) => {
      const found = await hosts(lines, { random: () => values.shift()! });
      return found.ok ? found.hosts.map((h) => h.host) : [];
    };
    expect(await order(0.1, 0.9)).toEqual(["mx.example.com", "b.example.com"]);
    expect(await order(0.9, 0.1)).toEqual(["b.example.com", "mx.example.com"]);
  });

  const refused = (what: string, lines: readonly string[], enhanced: string, temporary = false): void => {
    it(`there are none: ${what}`, async () =>
      expect(await hosts(lines)).toMatchObject({ ok: false, temporary, enhanced }));
  };
  refused("null MX, though it has an address", ["example.com MX 0 .", "example.com A 9.9.9.9"], "5.1.10");
  refused("no such domain", [], "5.1.2");
  refused("an MX without address", [MX], "5.4.4");
  refused("only private addresses", [MX, "mx.example.com A 10.0.0.1", "mx.example.com AAAA ::1"], "5.4.4");
  refused("the MX cannot be asked", ["example.com SERVFAIL"], "4.4.3", true);
  refused("the addresses cannot be asked", [MX, "mx.example.com SERVFAIL"], "4.4.3", true);

  it("is the domain itself where there is no MX", async () => {
    expect(await hosts(["example.com A 9.9.9.9"])).toEqual({
      ok: true,
      hosts: [{ host: "example.com", addresses: ["9.9.9.9"] }],
    });
  });

  it("may be private where the operator says so, and of one family", async () => {
    const lines = [MX, "mx.example.com A 127.0.0.1", "mx.example.com AAAA ::1"];
    expect(await hosts(lines, { allowPrivate: true, family: "4" })).toMatchObject({
      hosts: [{ addresses: ["127.0.0.1"] }],
    });
    expect(await hosts(lines, { allowPrivate: true, family: "6" })).toMatchObject({
      hosts: [{ addresses: ["::1"] }],
    });
  });
});

describe("the cache", () => {
  it("asks equal questions once, forgets failures at once and the rest in time", async () => {
    const clock = new FakeClock();
    const inner = zone("a.example TXT x", "down.example SERVFAIL");
    const resolver = cachingResolver(inner, clock);
    await Promise.all([resolver.txt("a.example"), resolver.txt("a.example"), resolver.txt("gone.example")]);
    expect(inner.asked).toEqual(["TXT a.example", "TXT gone.example"]);
    await resolver.txt("down.example");
    await resolver.txt("down.example");
    expect(inner.asked).toHaveLength(4);
    await clock.advance(61_000);
    await resolver.txt("a.example");
    await resolver.txt("gone.example");
    expect(inner.asked.slice(4)).toEqual(["TXT gone.example"]);
    await clock.advance(240_000);
    await resolver.txt("a.example");
    expect(inner.asked.at(-1)).toBe("TXT a.example");
  });
});
