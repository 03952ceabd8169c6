/**
 * The program as a few files: every module that a command needs, of ours and of other packages, in
 * the order in which it is needed. Node takes about a millisecond to find and link a module, and a
 * command has 270 of them.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { isBuiltin } from 'node:module'
import { basename, join, relative, sep } from 'node:path'
import { type OutputChunk, type Plugin, rolldown } from 'rolldown'
import { z } from 'zod'

export interface BundleOptions {
  /** Root of the checkout. */
  root: string
  /** Where the program goes: `server/main.js`, and what that loads, in `program`. */
  folder: string
  /** Packages that stay outside, to be found in `node_modules` when the program runs. */
  external: readonly string[]
}

/** A package whose code is in the bundle. */
export interface BundledPackage {
  name: string
  version: string
  /** Identifier of the licence, and its text. */
  license: string
  text: string
}

/** Modules that are needed together: by every start, by every command, by what asks a server, by
 * what is refused, by what moves bytes. */
const GROUPS: readonly [name: string, modules: RegExp][] = [
  ['start', /[\\/]server[\\/]program\.ts$/],
  ['command', /[\\/]client[\\/](command-words|commands[\\/]command)\.ts$/],
  [
    'call',
    /[\\/]client[\\/](api|profile|(commands|transfer)[\\/]connection|commands[\\/]target)\.ts$|[\\/]schemas[\\/]artifact-endpoints\.ts$/,
  ],
  ['problem', /[\\/]schemas[\\/]problem-document\.ts$/],
  [
    'transfer',
    /[\\/]client[\\/](transfer|trust)[\\/]|[\\/]schemas[\\/](content|log|upload)-endpoints\.ts$/,
  ],
]

/** Loaded by threads, by their address. */
const THREADS = ['server/stores/file-hash-thread.ts', 'server/stores/object-hash-thread.ts']

/** Writes the program; resolves to the packages in it, by name. Throws for what cannot be resolved. */
export async function bundleProgram(options: BundleOptions): Promise<BundledPackage[]> {
  const { root, folder, external } = options
  await using bundle = await rolldown({
    cwd: root,
    input: { 'server/main': 'server/main.ts' },
    platform: 'node',
    preserveEntrySignatures: 'allow-extension',
    external: (id) => external.some((name) => id === name || id.startsWith(`${name}/`)),
    plugins: [keepAddresses(root), takeBuiltins()],
    // Of yargs only the parser is used; what else its modules would set up at their start is not.
    treeshake: {
      moduleSideEffects: [{ test: /[\\/]node_modules[\\/]yargs[\\/]/, sideEffects: false }],
    },
    onLog: (level, log, handle) => {
      // A group may hold both sides of an import that waits in the sources.
      if (log.code === 'INEFFECTIVE_DYNAMIC_IMPORT') return
      if (level === 'warn') throw new Error(`Cannot bundle the program: ${log.message}`)
      handle(level, log)
    },
  })
  const { output } = await bundle.write({
    dir: folder,
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: 'program/[name].js',
    minifyInternalExports: false,
    // Node reads what it runs at every start.
    comments: false,
    codeSplitting: {
      // A group takes along whatever its modules import; what comes first here takes it first.
      groups: GROUPS.map(([name, test], index) => ({
        name,
        test,
        priority: GROUPS.length - index,
      })),
    },
  })
  joinFacades(folder)
  for (const path of THREADS) await bundleThread(options, path)
  return listPackages(output.filter((file) => file.type === 'chunk'))
}

/** What a server runs beside its program: a file each, which lies where its source lies. */
async function bundleThread({ root, folder }: BundleOptions, path: string): Promise<void> {
  await using bundle = await rolldown({
    cwd: root,
    input: path,
    platform: 'node',
    plugins: [takeBuiltins()],
    onLog: (level, log, handle) => {
      if (level === 'warn') throw new Error(`Cannot bundle ${path}: ${log.message}`)
      handle(level, log)
    },
  })
  const file = join(folder, path.replace(/\.ts$/, '.js'))
  await bundle.write({ file, format: 'esm', comments: false })
}

/**
 * A module's `import.meta.url` stays the address where it lies among the sources, so that what it finds
 * from there is found: all files of the bundle lie one folder deep.
 */
function keepAddresses(root: string): Plugin {
  return {
    name: 'keep-addresses',
    transform(code, id) {
      const path = relative(root, id).split(sep).join('/')
      if (!/^(client|schemas|server)\//.test(path) || !code.includes('import.meta.url')) return null
      const own = JSON.stringify(`../${path.replace(/\.ts$/, '.js')}`)
      return {
        code: code.replaceAll('import.meta.url', `new URL(${own}, import.meta.url).href`),
        map: null,
      }
    },
  }
}

/**
 * Takes modules of Node without `import`, which would make all their exports: that of `node:http` alone
 * loads a second HTTP client, and all of them together cost more than the program.
 */
function takeBuiltins(): Plugin {
  return {
    name: 'take-builtins',
    renderChunk(code) {
      let changed = code
      for (const node of this.parse(code).body.toReversed()) {
        if (node.type !== 'ImportDeclaration' || !isBuiltin(node.source.value)) continue
        const source = `process.getBuiltinModule(${JSON.stringify(node.source.value)})`
        const lines = node.specifiers.map((specifier) => {
          if (specifier.type !== 'ImportSpecifier')
            return `const ${specifier.local.name} = ${source};`
          const { imported } = specifier
          const name = imported.type === 'Literal' ? imported.value : imported.name
          return `const { ${name}: ${specifier.local.name} } = ${source};`
        })
        changed = changed.slice(0, node.start) + lines.join('\n') + changed.slice(node.end)
      }
      return { code: changed, map: null }
    },
  }
}

/** A file that only hands on what another one exports, under the same names. */
const FACADE = /^export \{ [\w$, ]+ \} from "\.\/([\w.-]+)";\s*$/

/** What is imported when it is needed comes from its group itself: one file less to find. */
function joinFacades(folder: string): void {
  const program = join(folder, 'program')
  const paths = [
    join(folder, 'server', 'main.js'),
    ...readdirSync(program).map((name) => join(program, name)),
  ]
  const texts = new Map(paths.map((path) => [path, readFileSync(path, 'utf8')]))
  const targets = new Map(
    [...texts].flatMap(([path, text]) => {
      const target = FACADE.exec(text)?.[1]
      return target === undefined ? [] : [[basename(path), target] as const]
    }),
  )
  for (const [path, text] of texts) {
    if (targets.has(basename(path))) rmSync(path)
    else
      writeFileSync(
        path,
        spellPlainly(text).replace(
          /\bimport\("(\.{1,2}\/(?:program\/)?)([\w.-]+)"\)/g,
          (_, way, name) => `import("${way}${targets.get(name) ?? name}")`,
        ),
      )
  }
}

/** Escapes what is not ASCII, all of it in texts and patterns: one dash makes V8 keep two bytes for every letter of a file. */
function spellPlainly(code: string): string {
  return code.replaceAll(/\P{ASCII}/gu, (letter) =>
    Array.from(
      { length: letter.length },
      (_, index) => `\\u${letter.charCodeAt(index).toString(16).padStart(4, '0')}`,
    ).join(''),
  )
}

const Package = z.object({ name: z.string(), version: z.string(), license: z.string() })

function listPackages(chunks: readonly OutputChunk[]): BundledPackage[] {
  const folders = chunks.flatMap(({ moduleIds }) =>
    moduleIds.flatMap(
      (id) => /^.*[\\/]node_modules[\\/](@[^\\/]+[\\/])?[^\\/]+/.exec(id)?.[0] ?? [],
    ),
  )
  return [...new Set(folders)].map(readPackage).sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Throws for a package without the text of its licence, which asks to be passed on. */
function readPackage(folder: string): BundledPackage {
  const manifest = Package.parse(JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')))
  const file = readdirSync(folder).find((name) => /^licen[cs]e/i.test(name))
  if (file === undefined) throw new Error(`Cannot pass on ${manifest.name}: it has no licence`)
  return { ...manifest, text: readFileSync(join(folder, file), 'utf8').trim() }
}
