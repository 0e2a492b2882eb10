/** How long the event loop of this thread was blocked, with and without waiting for a processor. */
import { readFileSync } from "node:fs";

/** Milliseconds that this thread waited for a processor since it began; 0 where the kernel does not tell. */
function waited() {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "utf8").split(" ")[1]) / 1e6;
  } catch {
    return 0;
  }
}

/** Looks at the loop in each of its turns, at least every millisecond. */
export function watchLoop() {
  let blocked = 0;
  let own = 0;
  let last = performance.now();
  let lastWaited = waited();
  let stopped = false;
  const look = () => {
    if (stopped) return;
    const now = performance.now();
    const nowWaited = waited();
    const gap = now - last - 1; // the timer's own millisecond
    blocked = Math.max(blocked, gap);
    own = Math.max(own, gap - (nowWaited - lastWaited));
    last = performance.now();
    lastWaited = nowWaited;
    setTimeout(look, 1);
  };
  setTimeout(look, 1);
  return {
    /** The longest since the last call, milliseconds: as seen by those who wait; by work of this thread. */
    take() {
      const taken = { blocked, own };
      blocked = own = 0;
      return taken;
    },
    stop() {
      stopped = true;
    },
  };
}
