/** A report that was pasted into an HTML mail, with its markup escaped. */

const END = "&lt;/feedback&gt;";
const ENTITIES: Readonly<Record<string, string>> = {
  lt: "<",
  gt: ">",
  quot: '"',
  amp: "&",
  nbsp: " ",
  "#39": "'",
};

/** The XML of the first `&lt;feedback` to the last `&lt;/feedback&gt;`; undefined when there is none. */
export function unescapedReport(html: Buffer): Buffer | undefined {
  const text = html.toString("utf8");
  const start = text.search(/&lt;(?:\?xml|feedback)/i);
  const end = text.lastIndexOf(END);
  if (start < 0 || end < start) return undefined;
  const xml = text
    .slice(start, end + END.length)
    .replace(/<[^<>]{0,1000}>/g, "")
    .replace(/&(lt|gt|quot|amp|nbsp|#39);/g, (_, name: string) => ENTITIES[name]!);
  return Buffer.from(xml);
}
