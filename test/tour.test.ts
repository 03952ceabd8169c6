import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const root = join(import.meta.dirname, '..')
let temporary: string

beforeEach(async () => {
  temporary = await mkdtemp(join(tmpdir(), 'tour-test-'))
  // As root, Postgres runs as another user, which must get through.
  await chmod(temporary, 0o711)
})
afterEach(() => rm(temporary, { recursive: true, force: true }))

/** Runs the tour as `npm run tour` does, with a folder for temporary files of its own. */
async function runTour(args: string[], until?: RegExp) {
  // npm does not wait for its script when it is interrupted itself.
  const [program, ...before] =
    until === undefined
      ? ['npm', 'run', '--silent', 'tour', '--']
      : [process.execPath, join('test', 'tour.ts')]
  const child = spawn(program ?? '', [...before, ...args], {
    cwd: root,
    env: { ...process.env, TMPDIR: temporary, INIT_CWD: root },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  let output = ''
  let stopped = false
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      if (until === undefined || stopped || child.pid === undefined || !until.test(output)) return
      stopped = true
      // As a terminal does: to every process of the group.
      process.kill(-child.pid, 'SIGINT')
    })
  await once(child, 'close')
  return { exit: child.exitCode, output }
}

/** What the folder for temporary files holds, beside the caches of npm and Node. */
const leftovers = async () =>
  (await readdir(temporary)).filter((name) => name.startsWith('artifact'))

describe('tour', () => {
  it('holds every step with the Node binary, in many parts, and leaves nothing behind', async () => {
    const { exit, output } = await runTour([])
    expect(output).toMatch(/held: it went up in 25 parts/)
    expect(output).toMatch(/held: it is refused with exit 3\n {2}held: nothing is left behind/)
    expect(output).toMatch(/Every step held, in [\d.]+ s\.\n$/)
    expect(exit).toBe(0)
    expect(await leftovers()).toEqual([])
  }, 180_000)

  it('takes any file', async () => {
    const file = join(temporary, 'small é.bin')
    await writeFile(file, 'some bytes')
    const { exit, output } = await runTour([file])
    expect(output).toMatch(/Every step held/)
    expect(exit).toBe(0)
  }, 120_000)

  it('fails in words when the file is not there', async () => {
    const { exit, output } = await runTour([join(temporary, 'absent')])
    expect(output).toMatch(/The tour failed: ENOENT.*absent/)
    expect(exit).toBe(1)
    expect(await leftovers()).toEqual([])
  }, 120_000)

  it('cleans up when it is interrupted', async () => {
    const { exit, output } = await runTour([], /\$ artifact upload/)
    expect(output).not.toMatch(/Every step held/)
    expect(exit).toBe(130)
    expect(await leftovers()).toEqual([])
  }, 120_000)
})
