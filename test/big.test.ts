/** More than 4 GiB up and down: offsets beyond 32 bits are right, and memory does not grow with size. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Artifact } from '../schemas/artifact.ts'
import { makePlace, runProgram, startOwnServer } from './support/own-server.ts'

const root = join(import.meta.dirname, '..')
const MIB = 1024 ** 2
/** Not a multiple of the part size, so that the last part is short. */
const SIZE_BYTES = 4096 * MIB + 5 * MIB + 1
/** Where the sparse file has a byte of its own: around 2^31 and 2^32, and at both ends. */
const MARKS = [0, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, SIZE_BYTES - 1]
/** The budget of a transfer [256 MiB] and as much again for the runtime. */
const PEAK_MIB_MAX = 512

describe('4 GiB', () => {
  it('goes up and comes back the same, in bounded memory on both sides', async () => {
    await using place = await makePlace(join(root, 'server', 'main.ts'))
    const peaks = join(place.folder, 'peaks')
    const reporter = join(root, 'test', 'support', 'report-peak.mjs')
    Object.assign(place.environment, { NODE_OPTIONS: `--import=${reporter}`, PEAK_FILE: peaks })
    const file = join(place.folder, 'big.bin')
    await makeSparse(file)
    const copy = join(place.folder, 'copy.bin')

    await using server = await startOwnServer(place)
    const upload = await runProgram(place, ['upload', file, 'big/0/big.bin', '--json'])
    expect(upload).toMatchObject({ exit: 0 })
    const record = Artifact.parse(JSON.parse(upload.stdout))
    expect(record).toMatchObject({ sizeBytes: String(SIZE_BYTES), partCount: 257 })
    const get = await runProgram(place, ['get', 'big/0/big.bin', '--verify', '-o', copy])
    expect(get).toMatchObject({ exit: 0 })
    expect(await server.stop()).toBe(0)

    expect(record.sha256).toBe(await hashFile(file))
    expect(await hashFile(copy)).toBe(record.sha256)
    const peakMib = readPeaks(await readFile(peaks, 'utf8'))
    process.stdout.write(
      `\npeak memory for ${SIZE_BYTES} bytes: upload ${peakMib.upload} MiB, get ${peakMib.get} MiB, server ${peakMib.serve} MiB\n`,
    )
    for (const role of ['upload', 'get', 'serve']) expect(peakMib[role]).toBeLessThan(PEAK_MIB_MAX)
  }, 900_000)
})

async function makeSparse(path: string): Promise<void> {
  await using file = await open(path, 'wx')
  await file.truncate(SIZE_BYTES)
  for (const [index, mark] of MARKS.entries())
    await file.write(Buffer.from([index + 1]), 0, 1, mark)
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: MIB })) hash.update(chunk)
  return hash.digest('hex')
}

/** MiB by the name of the command. */
function readPeaks(text: string): Record<string, number> {
  const lines = text.trim().split('\n')
  return Object.fromEntries(
    lines.map((line) => {
      const [role = '', kib] = line.split(' ')
      return [role, Math.round(Number(kib) / 1024)]
    }),
  )
}
