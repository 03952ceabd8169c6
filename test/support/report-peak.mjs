// Loaded into a process with --import: at its end it writes its peak of resident memory, in KiB, as a
// line `<role> <KiB>` to the file that PEAK_FILE names.
import { appendFileSync } from 'node:fs'

const { PEAK_FILE } = process.env
if (PEAK_FILE !== undefined)
  process.on('exit', () => {
    appendFileSync(PEAK_FILE, `${process.argv[2]} ${process.resourceUsage().maxRSS}\n`)
  })
