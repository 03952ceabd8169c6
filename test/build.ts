/**
 * `npm run build`: makes `dist/`, the package as it is published, since Node does not strip types
 * inside `node_modules`. The program is bundled, so that it starts at once; the library is JavaScript and
 * declarations that lie where their sources lie here, with its packages beside it as usual.
 */
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  globSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { type BundledPackage, bundleProgram } from './support/program-bundle.ts'

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
type Manifest = z.infer<typeof Manifest>

/** What every command loads, or would load module by module. All else is for servers, and stays outside. */
const BUNDLED = ['cli-progress', 'p-limit', 'undici', 'yargs', 'zod', 'zod-openapi']

async function build(): Promise<number> {
  rmSync(dist, { recursive: true, force: true })
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  const compiled = spawnSync(process.execPath, [compiler, '-p', 'tsconfig.build.json'], {
    cwd: root,
    stdio: 'inherit',
  })
  if (compiled.status !== 0) return compiled.status ?? 1
  const manifest = Manifest.parse(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')))
  const external = Object.keys(manifest.dependencies).filter((name) => !BUNDLED.includes(name))
  const bundled = await bundleProgram({ root, folder: dist, external })
  writeFileSync(join(dist, 'THIRD-PARTY.txt'), formatLicences(bundled))
  for (const path of ['LICENSE', 'README.md', 'sql'])
    cpSync(join(root, path), join(dist, path), { recursive: true })
  copyBrowserFiles()
  const wanted = [...external, ...findLibraryPackages(manifest)]
  writeFileSync(
    join(dist, 'package.json'),
    `${JSON.stringify(publish(manifest, wanted), null, 2)}\n`,
  )
  for (const program of Object.values(manifest.bin)) chmodSync(join(dist, toJs(program)), 0o755)
  return 0
}

/** What browsers load goes as it was written: the compiler passes over styles and pictures. */
function copyBrowserFiles(): void {
  const folder = join('server', 'inspector', 'browser')
  for (const name of readdirSync(join(root, folder)))
    if (/\.(js|css|svg)$/.test(name)) cpSync(join(root, folder, name), join(dist, folder, name))
}

/** The bundled packages that the library imports as well, in its code or its declarations. */
function findLibraryPackages({ dependencies }: Manifest): string[] {
  const texts = globSync('{client,schemas}/**/*.{js,d.ts}', { cwd: dist }).map((path) =>
    readFileSync(join(dist, path), 'utf8'),
  )
  return BUNDLED.filter(
    (name) => name in dependencies && texts.some((text) => text.includes(`from '${name}'`)),
  )
}

/** The manifest with every source path replaced by what was made of it, and the packages still wanted. */
function publish(manifest: Manifest, wanted: readonly string[]) {
  const mapValues = <T>(paths: Record<string, string>, map: (path: string) => T) =>
    Object.fromEntries(Object.entries(paths).map(([key, path]) => [key, map(path)]))
  return {
    ...manifest,
    bin: mapValues(manifest.bin, toJs),
    exports: mapValues(manifest.exports, (path) => ({
      types: path.replace(/\.ts$/, '.d.ts'),
      default: toJs(path),
    })),
    dependencies: Object.fromEntries(
      Object.entries(manifest.dependencies).filter(([name]) => wanted.includes(name)),
    ),
  }
}

/** The licences ask to be passed on with the code. */
function formatLicences(packages: readonly BundledPackage[]): string {
  const parts = packages.map(
    ({ name, version, license, text }) => `${name} ${version} (${license})\n\n${text}\n`,
  )
  const head = 'The folder program holds code of these packages, each under its own licence.\n'
  return [head, ...parts].join(`\n${'-'.repeat(80)}\n\n`)
}

const toJs = (path: string) => path.replace(/\.ts$/, '.js')

process.exitCode = await build()
