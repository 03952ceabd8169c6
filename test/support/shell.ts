/** Command lines as people type them, run by a real shell in which `artifact` is the real program. */
import { execFile } from 'node:child_process'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Cli, CliOutcome } from './cli.ts'

const PROGRAM = join(import.meta.dirname, '..', '..', 'server', 'main.ts')
const OUTPUT_BYTES_MAX = 16 * 1024 ** 2

export interface Shell {
  /** Runs one line in the folder of the cli [or in another one]; stdin is empty. */
  run(line: string, folder?: string): Promise<CliOutcome>
}

/** A shell with the environment of a cli, and these variables beside it. */
export async function openShell(cli: Cli, variables: Record<string, string> = {}): Promise<Shell> {
  const programs = join(cli.folder, '..', 'bin')
  await mkdir(programs, { recursive: true })
  const program = join(programs, 'artifact')
  await writeFile(program, `#!/bin/sh\nexec '${process.execPath}' '${PROGRAM}' "$@"\n`)
  await chmod(program, 0o755)
  const env = {
    ...cli.environment,
    ...variables,
    PATH: `${programs}:${process.env.PATH}`,
    LC_ALL: 'C',
  }
  return {
    run: (line, folder = cli.folder) =>
      new Promise((resolve) => {
        const options = { cwd: folder, env, maxBuffer: OUTPUT_BYTES_MAX }
        const shell = execFile('bash', ['-c', line], options, (fault, stdout, stderr) => {
          const exit = typeof fault?.code === 'number' ? fault.code : fault === null ? 0 : -1
          resolve({ exit, stdout, stderr })
        })
        shell.stdin?.end()
      }),
  }
}
