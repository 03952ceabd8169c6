import { ArtifactError } from '../../schemas/problems.ts'

/** Notices that a request stands still. */
export interface StallWatch extends Disposable {
  /** Fires, with an `unreachable` as its reason, when nothing moved for the time given. */
  readonly signal: AbortSignal
  /** Something moved. */
  moved(): void
  /** It need not move any more. */
  stop(): void
}

/** Watches from now on; `thing` names in the error what stood still. */
export function watchForStall(stallMs: number, thing: string): StallWatch {
  const controller = new AbortController()
  const timer = setTimeout(() => {
    controller.abort(
      new ArtifactError(
        'unreachable',
        `Cannot go on with ${thing}: no byte moved for ${stallMs / 1000} s`,
      ),
    )
  }, stallMs)
  let isStopped = false
  const stop = () => {
    isStopped = true
    clearTimeout(timer)
  }
  return {
    signal: controller.signal,
    moved() {
      // A timer that was cleared would be started again by this.
      if (!isStopped) timer.refresh()
    },
    stop,
    [Symbol.dispose]: stop,
  }
}
