// Preloaded into a process (`node --import`): at its end, says on stderr which packages it loaded.
import { registerHooks } from 'node:module'

const packages = new Set()

registerHooks({
  load(url, context, next) {
    const found = /^.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)
    if (found !== null) packages.add(found[1])
    return next(url, context)
  },
})

process.on('exit', () => process.stderr.write(`packages ${JSON.stringify([...packages].sort())}\n`))
