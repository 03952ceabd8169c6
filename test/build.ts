/**
 * `npm run build`: makes `dist/`, the package as it is published, since Node does not strip types
 * inside `node_modules`. JavaScript and declarations lie where their sources lie here.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'

const root = join(import.meta.dirname, '..')
const dist = join(root, 'dist')

/** What of the manifest a user of the package needs; scripts and development stay behind. */
const Manifest = z.object({
  name: z.string(),
  version: z.string(),
  description: z.string(),
  license: z.string(),
  type: z.literal('module'),
  engines: z.record(z.string(), z.string()),
  bin: z.record(z.string(), z.string()),
  exports: z.record(z.string(), z.string()),
  dependencies: z.record(z.string(), z.string()),
})

function build(): number {
  rmSync(dist, { recursive: true, force: true })
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const compiled = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], {
    cwd: root,
    stdio: 'inherit',
  })
  if (compiled.status !== 0) return compiled.status ?? 1
  for (const path of ['LICENSE', 'README.md', 'sql'])
    cpSync(join(root, path), join(dist, path), { recursive: true })
  copyBrowserFiles()
  const manifest = Manifest.parse(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')))
  writeFileSync(join(dist, 'package.json'), `${JSON.stringify(publish(manifest), null, 2)}\n`)
  for (const program of Object.values(manifest.bin)) chmodSync(join(dist, toJs(program)), 0o755)
  return 0
}

/** What browsers load goes as it was written: the compiler passes over styles and pictures. */
function copyBrowserFiles(): void {
  const folder = join('server', 'inspector', 'browser')
  for (const name of readdirSync(join(root, folder)))
    if (/\.(js|css|svg)$/.test(name)) cpSync(join(root, folder, name), join(dist, folder, name))
}

/** The manifest with every source path replaced by what was made of it. */
function publish(manifest: z.infer<typeof Manifest>) {
  const mapValues = <T>(paths: Record<string, string>, map: (path: string) => T) =>
    Object.fromEntries(Object.entries(paths).map(([key, path]) => [key, map(path)]))
  return {
    ...manifest,
    bin: mapValues(manifest.bin, toJs),
    exports: mapValues(manifest.exports, (path) => ({
      types: path.replace(/\.ts$/, '.d.ts'),
      default: toJs(path),
    })),
  }
}

const toJs = (path: string) => path.replace(/\.ts$/, '.js')

process.exitCode = build()
