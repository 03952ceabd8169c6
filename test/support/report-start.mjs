// Preloaded into a process (`node --import`): at its end, says on stderr which modules of Node it loaded,
// and whether zod was to compile parsers, which it keeps where every copy of it looks.
process.on('exit', () => {
  const builtins = process.moduleLoadList.flatMap(
    (line) => line.match(/^NativeModule (\S+)/)?.[1] ?? [],
  )
  const parsers = globalThis.__zod_globalConfig?.jitless === false ? 'compiled' : 'interpreted'
  process.stderr.write(`builtins ${builtins.join(' ')} \nparsers ${parsers}\n`)
})
