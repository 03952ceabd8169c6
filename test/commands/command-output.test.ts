import { describe, expect, it } from 'vitest'
import { readCommandOutput } from '../../client/commands/command-output.ts'
import { openTerminal } from '../../client/terminal.ts'
import { openMemoryProcess } from '../support/memory-process.ts'

function open() {
  const process = openMemoryProcess()
  const { stdout, stderr } = process.context
  const terminal = openTerminal({ stdout, stderr, quiet: false, plain: true })
  return { process, context: { ...process.context, terminal } }
}

async function readAll(words: string[], { context } = open()): Promise<string> {
  const chunks = await Array.fromAsync(readCommandOutput(words, context))
  return Buffer.concat(chunks).toString()
}

const node = (script: string) => [process.execPath, '-e', script]

describe('readCommandOutput()', () => {
  it('gives what the command writes, and passes on what it says', async () => {
    const opened = open()
    const words = node('process.stdout.write("data"); console.error("42 tables")')
    expect(await readAll(words, opened)).toBe('data')
    expect(opened.process.stderr).toBe('42 tables\n')
  })

  it('fails after the last byte when the command fails', async () => {
    const { context } = open()
    const output = readCommandOutput(
      node('process.stdout.write("half"); process.exitCode = 3'),
      context,
    )
    expect(String((await output.next()).value)).toBe('half')
    await expect(output.next()).rejects.toMatchObject({
      code: 'command_failed',
      found: 'exit code 3',
    })
  })

  it('fails when the command is killed', async () => {
    await expect(readAll(node('process.kill(process.pid, "SIGKILL")'))).rejects.toMatchObject({
      code: 'command_failed',
      found: 'ended by SIGKILL',
    })
  })

  it('fails when there is no such command', async () => {
    await expect(readAll(['/nowhere/pg_dump'])).rejects.toMatchObject({
      code: 'command_failed',
      message: 'Cannot run /nowhere/pg_dump: ENOENT',
    })
  })

  it('ends the command at the signal, also while it is waited for', async () => {
    const { process: memory, context } = open()
    const output = readCommandOutput(
      node('process.stdout.write("x"); setInterval(() => {}, 1000)'),
      context,
    )
    await output.next()
    const waiting = output.next()
    memory.interrupt('SIGINT')
    await expect(waiting).rejects.toMatchObject({ code: 'command_failed' })
  })

  it('ends the command when nobody reads on', async () => {
    const { context } = open()
    const output = readCommandOutput(
      node('process.stdout.write(String(process.pid)); setInterval(() => {}, 1000)'),
      context,
    )
    const pid = Number(String((await output.next()).value))
    await output.return(undefined)
    await expect.poll(() => isRunning(pid)).toBe(false)
  })
})

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
