/** What is cleaned up when a signal ends this program, past everything that would do it later. */

const waiting = new Set<() => void>()

/**
 * Runs a clean-up when a signal ends this program. Returns what takes that back. Processes that it
 * started end by themselves: they get the signal too, or see their input end.
 */
export function cleanWhenStopped(clean: () => void): () => void {
  if (waiting.size === 0) process.once('SIGINT', stop).once('SIGTERM', stop)
  waiting.add(clean)
  return () => {
    waiting.delete(clean)
    if (waiting.size === 0) process.off('SIGINT', stop).off('SIGTERM', stop)
  }
}

/** The newest first, as they would be disposed of. */
function stop(signal: NodeJS.Signals): void {
  for (const clean of [...waiting].reverse()) clean()
  process.exit(signal === 'SIGINT' ? 130 : 143)
}
