/** What is cleaned up when a signal ends this program, past everything that would do it later. */

/**
 * Runs a clean-up when a signal ends this program. Returns what takes that back. Processes that it
 * started end by themselves: they get the signal too, or see their input end.
 */
export function cleanWhenStopped(clean: () => void): () => void {
  const stop = (signal: NodeJS.Signals) => {
    clean()
    process.exit(signal === 'SIGINT' ? 130 : 143)
  }
  process.once('SIGINT', stop).once('SIGTERM', stop)
  return () => void process.off('SIGINT', stop).off('SIGTERM', stop)
}
