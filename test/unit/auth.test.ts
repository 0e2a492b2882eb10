/** Verifying the mail that carries a report, without network and without signatures: the pure parts. */
import { describe, expect, it } from "vitest";
import type { Resolver } from "../../src/dns/resolver.ts";
import { parseZone, zoneResolver } from "../../src/dns/zone.ts";
import { readHeaderBlock } from "../../src/format/mail/mime/headers.ts";
import { verdictOn } from "../../src/receive/auth/alignment.ts";
import { parseAuthResults, trustedResults } from "../../src/receive/auth/auth-results.ts";
import { authorOf } from "../../src/receive/auth/author.ts";
import { isUsable, signedForm } from "../../src/receive/auth/dkim-precheck.ts";
import type { Evidence } from "../../src/receive/auth/evidence.ts";
import { addressOf, boundedResolver, resolveFunction } from "../../src/receive/auth/lookups.ts";
import { servicesOf } from "../../src/receive/auth/mailauth.ts";
import { isTrustedUpstream } from "../../src/receive/auth/verify.ts";
import { LIMITS } from "../support/reading.ts";

const fieldsOf = (header: string) => {
  const raw = Buffer.from(`${header.replace(/\n/g, "\r\n")}\r\n\r\n`, "latin1");
  return readHeaderBlock(raw, 0, raw.length, LIMITS).fields;
};

describe("the author domain", () => {
  const author = (...from: string[]) => {
    const found = authorOf(fieldsOf(["Subject: x", ...from.map((value) => `From: ${value}`)].join("\n")));
    return found.ok ? found.domain : `! ${found.why}`;
  };
  for (const [from, domain] of [
    ["a@b.example", "b.example"],
    ["A <a@B.Example>", "b.example"],
    ['"x@evil.example" <a@b.example>', "b.example"],
    ["x@evil.example <a@b.example>", "b.example"],
    ["(x@evil.example (nested)) a@b.example", "b.example"],
    ["=?utf-8?q?x=40evil.example,_y?= <a@b.example>", "b.example"],
    ["a@b.example, c@b.example", "b.example"],
    ['"a b"@b.example', "b.example"],
    ["a@b\u00fccher.example", "xn--bcher-kva.example"],
    ["Group: a@b.example;", "b.example"],
    ["a@b.example, c@d.example", "! several domains in From"],
    ["<a@b.example> <c@d.example>", "! no address in From"],
    ["Group:;", "! no address in From"],
    ["someone", "! no address in From"],
    ["a@[192.0.2.1]", "! no address in From"],
    ["a@b.example, broken", "! no address in From"],
    [`${"x".repeat(3000)} <a@b.example>`, "! the From field is too long"],
  ] as const) {
    it(`${from.slice(0, 60)} -> ${domain}`, () => expect(author(from)).toBe(domain));
  }
  it("needs exactly one From field", () => {
    expect(author()).toBe("! no From field");
    expect(author("a@b.example", "a@b.example")).toBe("! several From fields");
  });
});

describe("the verdict", () => {
  const ZONE = parseZone(`
    _dmarc.relaxed.example TXT v=DMARC1; p=reject
    _dmarc.strict.example TXT v=DMARC1; p=none; adkim=s; aspf=s
    _dmarc.psd.example TXT v=DMARC1; p=none; psd=y
    _dmarc.a.psd.example TXT v=DMARC1; p=none
    _dmarc.b.psd.example TXT v=DMARC1; p=none
    _dmarc.down.example SERVFAIL
    _dmarc.under.relaxed.example TXT v=DMARC1; p=none; psd=n
  `);
  type Words = readonly string[];
  /** `dkim=pass d.example` `spf=fail d.example` `dmarc=pass` → verdict and verdict for TLS reports. */
  const verdict = async (author: string, words: Words, resolver: Resolver = zoneResolver(ZONE)) => {
    const dkim = [];
    let spf: Evidence["spf"] = { result: "none", domain: null };
    let dmarc: Evidence["dmarc"] = null;
    for (const word of words) {
      const [what, domain = "", service] = word.split(" ");
      const [method, result] = what!.split("=") as [string, Evidence["spf"]["result"]];
      if (method === "dmarc") dmarc = result as "pass" | "fail";
      else if (method === "spf") spf = { result, domain };
      else dkim.push({ result, domain, mail: service !== "tls-only", tlsrpt: service !== "mail-only" });
    }
    const found = await verdictOn(resolver, author, { spf, dkim, dmarc, by: "own", notes: [] });
    return `${found.verdict} ${found.tls}`;
  };
  for (const [author, words, wanted] of [
    ["relaxed.example", ["dkim=pass relaxed.example"], "pass pass"],
    ["relaxed.example", ["dkim=pass mail.relaxed.example"], "pass pass"],
    ["mail.relaxed.example", ["dkim=pass relaxed.example"], "pass pass"],
    ["relaxed.example", ["dkim=pass under.relaxed.example"], "fail fail"], // an organization of its own
    ["relaxed.example", ["dkim=pass notrelaxed.example"], "fail fail"],
    ["relaxed.example", ["dkim=pass evil.example"], "fail fail"],
    ["relaxed.example", ["dkim=fail relaxed.example"], "fail fail"],
    ["relaxed.example", ["dkim=fail relaxed.example", "dkim=pass relaxed.example"], "pass pass"],
    ["relaxed.example", ["spf=pass bounce.relaxed.example"], "pass fail"], // TLS reports need DKIM
    ["relaxed.example", ["spf=pass evil.example"], "fail fail"],
    ["relaxed.example", ["spf=fail relaxed.example"], "fail fail"],
    ["relaxed.example", [], "fail fail"],
    ["relaxed.example", ["dkim=pass relaxed.example tls-only"], "fail pass"], // RFC 6376 3.6.1
    ["relaxed.example", ["dkim=pass relaxed.example mail-only"], "pass fail"],
    ["strict.example", ["dkim=pass strict.example"], "pass pass"],
    ["strict.example", ["dkim=pass mail.strict.example"], "fail fail"],
    ["strict.example", ["spf=pass mail.strict.example"], "fail fail"],
    ["a.psd.example", ["dkim=pass b.psd.example"], "fail fail"], // below a public suffix
    ["a.psd.example", ["dkim=pass x.a.psd.example"], "pass pass"],
    ["none.example", ["dkim=pass none.example"], "pass pass"],
    ["none.example", ["dkim=pass mail.none.example"], "fail fail"],
    ["none.example", ["spf=fail none.example"], "fail fail"],
    ["none.example", ["spf=none none.example"], "none none"],
    ["none.example", [], "none none"],
    ["down.example", ["dkim=pass down.example"], "pass pass"], // equal names need no policy
    ["down.example", ["dkim=pass mail.down.example"], "temperror temperror"],
    ["down.example", ["dkim=pass evil.example"], "temperror temperror"],
    ["down.example", [], "temperror fail"],
    ["relaxed.example", ["dkim=temperror relaxed.example"], "temperror temperror"],
    ["relaxed.example", ["dkim=temperror evil.example"], "fail fail"], // it would not have helped
    ["relaxed.example", ["spf=temperror relaxed.example"], "temperror fail"],
    ["relaxed.example", ["spf=pass relaxed.example", "dkim=temperror relaxed.example"], "pass temperror"],
    ["relaxed.example", ["dmarc=pass"], "pass fail"],
    ["relaxed.example", ["dmarc=fail", "spf=pass relaxed.example"], "fail fail"],
  ] as const) {
    it(`${author}: ${words.join(", ") || "nothing"} -> ${wanted}`, async () => {
      expect(await verdict(author, words)).toBe(wanted);
    });
  }
  it("asks only about domains that can be aligned", async () => {
    const zone = zoneResolver(ZONE);
    await verdict("relaxed.example", ["dkim=pass a.b.c.d.evil.example", "dkim=pass relaxed.example"], zone);
    expect(zone.asked.filter((name) => name.includes("evil"))).toEqual([]);
  });
});

describe("Authentication-Results", () => {
  const parsed = (value: string) => {
    const read = parseAuthResults(value);
    if (!read) return undefined;
    return [
      read.authservId,
      ...read.results.map((r) =>
        [`${r.method}=${r.result}`, ...[...r.properties].map(([name, text]) => `${name}=${text}`)].join(" "),
      ),
    ];
  };
  for (const [value, wanted] of [
    ["mx.example; none", ["mx.example"]],
    [
      "MX.Example 1; spf=pass smtp.mailfrom=a@b.example",
      ["mx.example", "spf=pass smtp.mailfrom=a@b.example"],
    ],
    [
      "mx.example (a; b=c (d)); dkim=Pass (2048-bit) header.d=b.example header.s=x",
      ["mx.example", "dkim=pass header.d=b.example header.s=x"],
    ],
    [
      'mx.example; dkim=fail reason="a; b" header.d=b.example',
      ["mx.example", "dkim=fail reason=a; b header.d=b.example"],
    ],
    ["mx.example; dkim/1 = pass header.d = b.example", ["mx.example", "dkim=pass header.d=b.example"]],
    [
      "mx.example;\tdmarc=pass (p=reject) header.from=b.example;",
      ["mx.example", "dmarc=pass header.from=b.example"],
    ],
    ['"mx.example"; spf=none', ["mx.example", "spf=none"]],
    ["mx.example; x-new=pass a=b", ["mx.example", "x-new=pass a=b"]],
    ["mx.example 2; spf=pass", undefined], // a version to come
    ["spf=pass (no id) smtp.mailfrom=b.example", undefined],
    ["mx.example spf=pass", undefined],
    ["", undefined],
    [`mx.example; ${"a".repeat(20_000)}=pass`, undefined],
  ] as const) {
    it(value.slice(0, 70), () => expect(parsed(value)).toEqual(wanted));
  }
  it("takes no more than linear time", () => {
    const start = performance.now();
    for (const odd of ["(", ")", '"', "=", " ", "; ", "\\", "a=", " ="]) {
      parseAuthResults(`mx.example; ${odd.repeat(8000 / odd.length)}`);
    }
    expect(performance.now() - start).toBeLessThan(500);
  });

  const believed = (header: string, ids = ["mx.example"]) => {
    const found = trustedResults(fieldsOf(header), ids, "b.example");
    return (
      found && [found.by, found.dmarc, found.spf?.result, found.dkim?.map((d) => `${d.result} ${d.domain}`)]
    );
  };
  const PASS = "Authentication-Results: mx.example; dmarc=pass header.from=b.example";
  const FRONT = "Received: from out.b.example by mx.example; date";
  const OTHER = "Received: from x by out.b.example; date";
  const yes = ["mx.example", "pass", undefined, undefined];
  it("are believed where the trusted upstream MTA puts them", () => {
    expect(believed(`${PASS}\n${FRONT}\n${OTHER}`)).toEqual(yes);
    expect(believed(`${FRONT}\n${PASS}\n${OTHER}`)).toEqual(yes);
    expect(believed(`Received: from localhost by mx.example; date\n${FRONT}\n${PASS}`)).toEqual(yes);
    expect(believed(`Received: by in.mx.example; d\nReceived: from b by a.mx.example; d\n${PASS}`)).toEqual(
      yes,
    );
  });
  it("are not believed below a hop of others, or from others", () => {
    expect(believed(`${FRONT}\n${OTHER}\n${PASS}`)).toBeUndefined();
    expect(believed(`${FRONT}\nReceived: from mx.example by evil.example; d\n${PASS}`)).toBeUndefined();
    expect(believed(`${FRONT}\nReceived: for mx.example\n${PASS}`)).toBeUndefined();
    expect(believed(`${PASS}\n${FRONT}`, ["other.example"])).toBeUndefined();
    expect(believed(`Authentication-Results: sub.mx.example; dmarc=pass\n${FRONT}`)).toBeUndefined();
  });
  it("what the trusted upstream MTA said last wins over what was there before", () => {
    const real = "Authentication-Results: mx.example; dmarc=fail header.from=b.example";
    expect(believed(`${real}\n${FRONT}\n${PASS}`)?.[1]).toBe("fail");
    expect(believed(`${FRONT}\n${real}\n${PASS}`)?.[1]).toBe("fail");
    expect(believed(`Authentication-Results: mx.example; none\n${FRONT}\n${PASS}`)).toEqual([
      "mx.example",
      null,
      undefined,
      undefined,
    ]);
  });
  it("give identifiers in every usual spelling", () => {
    expect(
      believed(
        "Authentication-Results: mx.example; spf=softfail smtp.mailfrom=x@c.example; dkim=pass header.i=@d.example; dkim=none; dkim=neutral header.d=e.example; dmarc=pass header.from=z.example",
      ),
    ).toEqual(["mx.example", null, "fail", ["pass d.example", "fail e.example"]]);
  });
  it("were trusted from every private address: they are from listed addresses only, over SMTP and LMTP", () => {
    const peers = ["192.0.2.0/24", "2001:db8::25", "127.0.0.1", "10.1.0.0/16"];
    for (const source of ["smtp", "lmtp"] as const) {
      const trusts = (remoteIp: string | null, list: readonly string[] = peers) =>
        isTrustedUpstream({ remoteIp, source, helo: null, envelopeFrom: "" }, list);
      for (const ip of ["192.0.2.77", "2001:db8::25", "127.0.0.1", "::ffff:10.1.2.3"])
        expect(trusts(ip), ip).toBe(true);
      for (const ip of ["198.51.100.1", "2001:db8::26", "10.2.0.1", "127.0.0.2", "::1", "nonsense"])
        expect(trusts(ip), ip).toBe(false);
      for (const ip of ["127.0.0.1", "::1", "10.1.2.3", "192.168.1.1", "fe80::1%eth0"])
        expect(trusts(ip, []), ip).toBe(false);
      // a Unix socket: its permissions decide
      expect(trusts(null, [])).toBe(true);
    }
  });
});

describe("a signature that may count", () => {
  const usable = (tags: string) => isUsable(Buffer.from(`DKIM-Signature: ${tags}\r\n`));
  const GOOD = "v=1; a=rsa-sha256; d=b.example; s=x; h=From:To; bh=x; b=y";
  it("is as RFC 6376 and RFC 8301 ask", () => {
    expect(usable(GOOD)).toBe(true);
    expect(usable(`${GOOD};`)).toBe(true);
    expect(usable(GOOD.replace("rsa", "ed25519"))).toBe(true);
    expect(usable(`${GOOD}; i=a@sub.b.example; zz=1`)).toBe(true);
    expect(usable(GOOD.replace("sha256", "sha1"))).toBe(false);
    expect(usable(GOOD.replace("v=1; ", ""))).toBe(false);
    expect(usable(`${GOOD}; l=10`)).toBe(false); // RFC 8460 3
    expect(usable(GOOD.replace("From:", ""))).toBe(false);
    expect(usable(`${GOOD}; d=c.example`)).toBe(false);
    expect(usable(`${GOOD}; i=a@notb.example`)).toBe(false);
    expect(usable(`${GOOD}; junk`)).toBe(false);
    expect(usable(`${GOOD}; zz=${"x".repeat(9000)}`)).toBe(false);
  });
  it("the key may name its services", () => {
    expect(servicesOf("v=DKIM1;k=rsa;p=x")).toEqual(["*"]);
    expect(servicesOf("v=DKIM1;s=email:TLSRPT;p=x")).toEqual(["email", "tlsrpt"]);
  });
});

describe("the form of a mail to be verified", () => {
  const form = (text: string | Buffer) => {
    const raw = Buffer.isBuffer(text) ? text : Buffer.from(text, "latin1");
    const { fields, bodyStart } = readHeaderBlock(raw, 0, raw.length, LIMITS);
    return signedForm(raw, fields, bodyStart);
  };
  const SIGNATURE = "DKIM-Signature: v=1; a=rsa-sha256; d=b.example; s=x;\r\n h=From; bh=x; b=y\r\n";
  it("keeps signatures that may count, so many, and no ARC", () => {
    const found = form(`ARC-Seal: i=1;\r\n a=b\r\n${SIGNATURE.repeat(20)}From: a@b.example\r\n\r\nbody\r\n`);
    expect(found).toMatchObject({ ok: true, signatures: 8 });
    if (!found.ok) return;
    expect(found.header.toString()).toBe(`${SIGNATURE.repeat(8)}From: a@b.example\r\n\r\n`);
    expect(found.body.toString()).toBe("body\r\n");
  });
  for (const [name, text] of [
    [
      "a line that is no field, where readers see the body begin",
      `From: a@b.example\r\nbroken\r\n${SIGNATURE}\r\nx`,
    ],
    ["no empty line", `From: a@b.example\r\n${SIGNATURE}`],
    ["two Content-Type fields", `Content-Type: a/b\r\n${SIGNATURE}Content-Type: c/d\r\n\r\nx`],
    ["a long Content-Type field", `Content-Type: a/b; x=${"y".repeat(9000)}\r\n${SIGNATURE}\r\nx`],
    ["a header of too many lines", `X: y\r\n${" z\r\n".repeat(3000)}${SIGNATURE}\r\nx`],
    ["a header that is too large", `${`X: ${"y".repeat(900)}\r\n`.repeat(160)}${SIGNATURE}\r\nx`],
    ["a line without end", `${SIGNATURE}\r\n${"x".repeat(300_000)}`],
    ["thousands of bare line feeds", `${SIGNATURE}\r\n${"x\n".repeat(20_000)}`],
    ["thousands of blank lines", `${SIGNATURE}\r\n${" \r\n".repeat(20_000)}`],
  ] as const) {
    it(`refuses ${name}`, () => expect(form(text).ok).toBe(false));
  }
});

describe("DNS for one mail", () => {
  const never = new Promise<void>(() => {});
  it("ends at a number of questions", async () => {
    const zone = zoneResolver(parseZone("a.example A 192.0.2.1"));
    const bounded = boundedResolver(zone, never);
    const answers = [];
    for (let i = 0; i < 160; i++) answers.push((await bounded.addresses("a.example", 4)).ok);
    expect(answers.filter(Boolean)).toHaveLength(150);
    expect(zone.asked).toHaveLength(150);
  });
  it("ends with the deadline", async () => {
    const hangs = { txt: () => new Promise(() => {}) } as unknown as Resolver;
    let expire = (): void => {};
    const expired = new Promise<void>((resolve) => {
      expire = resolve;
    });
    const asked = boundedResolver(hangs, expired).txt("a.example");
    expire();
    expect(await asked).toMatchObject({ ok: false, code: "temporary" });
  });
  it("is told to mailauth in its own terms", async () => {
    const zone = parseZone(`
      a.example TXT "x" "y"
      a.example MX 10 mx.a.example
      a.example AAAA 2001:db8::1
      192.0.2.1 PTR host.a.example
      down.example SERVFAIL
      spf.example TXT v=spf1 include:${"x".repeat(500)}.example -all
    `);
    const resolve = resolveFunction(zoneResolver(zone));
    expect(await resolve("a.example", "TXT")).toEqual([["xy"]]);
    expect(await resolve("a.example", "MX")).toEqual([{ priority: 10, exchange: "mx.a.example" }]);
    expect(await resolve("a.example", "AAAA")).toEqual(["2001:db8::1"]);
    expect(await resolve("1.2.0.192.in-addr.arpa", "PTR")).toEqual(["host.a.example"]);
    await expect(resolve("a.example", "A")).rejects.toMatchObject({ code: "ENODATA" });
    await expect(resolve("z.example", "A")).rejects.toMatchObject({ code: "ENOTFOUND" });
    await expect(resolve("down.example", "TXT")).rejects.toMatchObject({ code: "ETIMEOUT" });
    await expect(resolve("spf.example", "TXT")).rejects.toMatchObject({ spfResult: { error: "permerror" } });
  });
  it("knows reverse names", () => {
    expect(addressOf("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa")).toBe(
      "2001:db8::1",
    );
    expect(addressOf("a.example")).toBeUndefined();
  });
});
