/** Files and folders to move: random bytes, since a peer that compresses would cheat on others. */
import { createCipheriv, randomBytes } from 'node:crypto'
import { mkdir, open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Load } from './tools.ts'

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
const CHUNK_BYTES = 4 * 1024 ** 2

/** `64MiB`, `1 GiB` or a number of bytes, as bytes. */
export function parseSize(text: string): number {
  const match = /^(\d+)\s*([KMGT]i)?B?$/.exec(text.trim())
  const unit = `${match?.[2] ?? ''}B`
  const power = UNITS.indexOf(unit)
  if (match === null || power < 0) throw new Error(`Cannot read a size: ${text}`)
  return Number(match[1]) * 1024 ** power
}

/** `1 GiB`; whole numbers of the largest unit that fits. */
export function formatSize(bytes: number): string {
  const power = UNITS.findLastIndex(
    (_, index) => bytes >= 1024 ** index && bytes % 1024 ** index === 0,
  )
  return `${bytes / 1024 ** Math.max(power, 0)} ${UNITS[Math.max(power, 0)]}`
}

/** Writes a file of random bytes. */
export async function makeFile(folder: string, bytes: number): Promise<Load> {
  const title = formatSize(bytes)
  const slug = title.replace(' ', '-')
  const path = join(folder, slug)
  await using file = await open(path, 'wx')
  const next = startBytes()
  for (let written = 0; written < bytes; ) {
    const chunk = next(Math.min(CHUNK_BYTES, bytes - written))
    await file.writeFile(chunk)
    written += chunk.length
  }
  return { kind: 'file', title, slug, path, bytes, files: 1 }
}

/** Writes a folder of files of random bytes: `0000`, `0001` and so on. */
export async function makeFolder(folder: string, files: number, each: number): Promise<Load> {
  const title = `${files.toLocaleString('en-US')} × ${formatSize(each)}`
  const slug = `${files}-x-${each}`
  const path = join(folder, slug)
  await mkdir(path)
  const next = startBytes()
  for (let index = 0; index < files; index++)
    await writeFile(join(path, String(index).padStart(4, '0')), next(each))
  return { kind: 'folder', title, slug, path, bytes: files * each, files }
}

/** The key stream of AES is as random as can be, and faster than the kernel's source. */
function startBytes(): (bytes: number) => Uint8Array {
  const cipher = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16))
  const zeros = new Uint8Array(CHUNK_BYTES)
  return (bytes) => cipher.update(zeros.subarray(0, bytes))
}
