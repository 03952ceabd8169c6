// Runs before every npm script, on whatever Node is found first, and says in words what an
// installation lacks. Plain JavaScript, since an older Node cannot load the TypeScript of this tree.
import { existsSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '..', '..')
const wanted = 24
const found = Number(process.versions.node.split('.')[0])

if (found < wanted) {
  const absent = existsSync(join(root, 'node_modules', 'vitest'))
    ? 'The npm package "node", which brings Node 24, is installed without its binary: its install\n' +
      'script did not run or failed. Install scripts must be allowed for it (package.json, allowScripts)'
    : 'The dependencies are not installed'
  process.stderr.write(
    `\nCannot run on Node ${process.versions.node}: Node ${wanted} or newer is needed.\n${absent}.\n` +
      'Run "npm ci" without --ignore-scripts, or put Node 24 first in PATH.\n\n',
  )
  process.exitCode = 2
}
