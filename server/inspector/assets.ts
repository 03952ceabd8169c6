/**
 * What the pages load beside themselves: the style sheet, the icon and the browser modules, read once at
 * the start and served under the hash of all of them, so that a browser may keep them for ever.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'

export interface Asset {
  contentType: string
  bytes: Uint8Array<ArrayBuffer>
  gzipped: Uint8Array<ArrayBuffer>
}

export interface Assets {
  /** The address of an asset of the browser folder. Throws when there is none of that name. */
  path(name: string): string
  /** The asset with this address, or `undefined`. */
  find(path: string): Asset | undefined
}

/** Files of other packages that the pages load, by the name they get here. */
const VENDORED: Readonly<Record<string, string>> = {
  'sha256.js': 'hash-wasm/dist/sha256.umd.min.js',
}

const TYPES: Readonly<Record<string, string>> = {
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
  wasm: 'application/wasm',
}

const BROWSER_FOLDER = new URL('browser/', import.meta.url)

/** Reads all assets. Their relative imports hold, since all lie under one address. */
export async function readAssets(): Promise<Assets> {
  const names = (await readdir(BROWSER_FOLDER)).filter((name) => typeOf(name) !== undefined).sort()
  const sources = [
    ...names.map((name) => [name, new URL(name, BROWSER_FOLDER)] as const),
    ...Object.entries(VENDORED).map(
      ([name, specifier]) => [`vendor/${name}`, new URL(import.meta.resolve(specifier))] as const,
    ),
  ]
  const files = await Promise.all(
    sources.map(async ([name, url]) => ({ name, bytes: await readFile(fileURLToPath(url)) })),
  )
  const hash = createHash('sha256')
  for (const { name, bytes } of files) hash.update(`${name}\0${bytes.length}\0`).update(bytes)
  const root = `/assets/${hash.digest('hex').slice(0, 16)}/`
  const assets = new Map<string, Asset>()
  for (const { name, bytes } of files)
    assets.set(root + name, {
      contentType: typeOf(name) ?? 'application/octet-stream',
      bytes: new Uint8Array(bytes),
      gzipped: new Uint8Array(await promisify(gzip)(bytes, { level: 9 })),
    })
  return {
    path(name) {
      if (!assets.has(root + name)) throw new Error(`There is no asset ${name}`)
      return root + name
    },
    find: (path) => assets.get(path),
  }
}

function typeOf(name: string): string | undefined {
  return name.endsWith('.d.ts') ? undefined : TYPES[name.split('.').at(-1) ?? '']
}
