#!/usr/bin/env node
// Says in words what an older Node could only say as a syntax error: nothing is imported before.
const NODE_MAJOR_MIN = 24

if (Number(process.versions.node.split('.')[0]) < NODE_MAJOR_MIN) {
  process.stderr.write(
    `artifact: Cannot run: Node ${NODE_MAJOR_MIN} or newer is needed, this is ${process.versions.node}\n`,
  )
  process.exitCode = 2
} else {
  const { keepCompiled } = await import('./compile-cache.ts')
  keepCompiled()
  const { runProgram } = await import('./program.ts')
  process.exitCode = await runProgram(process.argv.slice(2))
}
