/** Replaces one module of the built program by one of tests; that one imports the real module with `?real` at its end. */
import { register } from "node:module";

/**
 * @param {string} end of the URL of the module
 * @param {string} by path of the other one, relative to this file
 */
export function replaceModule(end, by) {
  const hook = `
    export async function resolve(specifier, context, next) {
      const resolved = await next(specifier, context);
      return resolved.url.endsWith(${JSON.stringify(end)})
        ? { ...resolved, url: ${JSON.stringify(new URL(by, import.meta.url).href)} }
        : resolved;
    }`;
  register(`data:text/javascript,${encodeURIComponent(hook)}`);
}
