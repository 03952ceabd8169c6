/** The Chromium of this machine, and how tests start it. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Browser, chromium } from 'playwright-core'
import { findProgram } from './program-path.ts'

/** Environment variable with the path of a Chromium that is not in PATH. */
export const CHROMIUM_VARIABLE = 'ARTIFACT_TEST_CHROMIUM'

/** No sandbox, since tests may run as root and open their own pages alone; nothing asks the network. */
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // A page that asks for another host would get no answer, and the fixture reports it anyway.
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
]

/** Path of a Chromium; `undefined` when there is none. */
export function findChromium(): string | undefined {
  const given = process.env[CHROMIUM_VARIABLE] ?? ''
  return given === '' ? (findProgram('chromium') ?? findProgram('chromium-browser')) : given
}

/** Starts a browser without window; throws when there is none. What it downloads goes with it. */
export async function startChromium(
  flags: readonly string[] = [],
): Promise<{ browser: Browser } & AsyncDisposable> {
  const executablePath = findChromium()
  if (executablePath === undefined)
    throw new Error(`Cannot start Chromium: it is not in PATH and ${CHROMIUM_VARIABLE} is not set`)
  await using stack = new AsyncDisposableStack()
  const downloadsPath = await mkdtemp(join(tmpdir(), 'artifact-browser-'))
  stack.defer(() => rm(downloadsPath, { recursive: true, force: true, maxRetries: 3 }))
  const browser = await chromium.launch({
    executablePath,
    downloadsPath,
    args: [...FLAGS, ...flags],
  })
  stack.defer(() => browser.close())
  const held = stack.move()
  return { browser, [Symbol.asyncDispose]: () => held.disposeAsync() }
}
