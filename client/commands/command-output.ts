/** The output of a command as a stream that fails when the command fails: what a pipe hides. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { ArtifactError } from '../../schemas/problems.ts'
import type { CommandContext } from './command.ts'

/**
 * Starts the command when it is first read, and yields its stdout. After the last byte it waits for
 * the end of the command, and throws `command_failed` unless that exited with 0; so a consumer must
 * not take the stream for complete before the iteration ends. A consumer that stops early and the
 * signal both end the command. What the command says on stderr is passed on.
 */
export async function* readCommandOutput(
  words: readonly string[],
  { terminal, signal }: Pick<CommandContext, 'terminal' | 'signal'>,
): AsyncGenerator<Uint8Array> {
  const [program = '', ...args] = words
  signal.throwIfAborted()
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], windowsHide: true })
  const ended = once(child, 'close')
  // It is awaited below; until then a failure to start must not end the process.
  ended.catch(() => {})
  // A consumer that waits for the next byte cannot end the command by leaving.
  const stop = () => void child.kill()
  signal.addEventListener('abort', stop)
  createInterface({ input: child.stderr }).on('line', (line) => terminal.warn(line))
  try {
    for await (const chunk of child.stdout) if (chunk instanceof Uint8Array) yield chunk
    const [code, killedBy] = await ended
    if (code !== 0)
      throw new ArtifactError('command_failed', `Cannot use the output of ${program}: it failed`, {
        expected: 'exit code 0',
        found: killedBy === null ? `exit code ${code}` : `ended by ${killedBy}`,
      })
  } catch (error) {
    if (error instanceof ArtifactError) throw error
    const reason = error instanceof Error && 'code' in error ? String(error.code) : String(error)
    throw new ArtifactError('command_failed', `Cannot run ${program}: ${reason}`, { cause: error })
  } finally {
    signal.removeEventListener('abort', stop)
    if (child.exitCode === null && child.signalCode === null) child.kill()
  }
}
