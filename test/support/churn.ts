/**
 * A process that makes objects as a program does that moves very many small files: all are dropped
 * soon, most after they have survived a look or two. Prints the most memory that its heap took.
 */
import { getHeapSpaceStatistics } from 'node:v8'
import { boundHeap } from '../../server/heap-bounds.ts'

const ROUNDS = 400
const OBJECTS = 4000
const KEPT_ROUNDS = 20

if (process.argv[2] === 'bounded') boundHeap()
const kept: object[][] = []
let peakYoungBytes = 0
let peakHeapBytes = 0
for (let round = 0; round < ROUNDS; round++) {
  kept.push(
    Array.from({ length: OBJECTS }, (_, index) => ({ text: `${round} ${index}`, at: [index] })),
  )
  if (kept.length > KEPT_ROUNDS) kept.shift()
  // As between two requests.
  await new Promise((resolve) => setImmediate(resolve))
  const spaces = getHeapSpaceStatistics()
  const young = spaces.find(({ space_name: name }) => name === 'new_space')
  peakYoungBytes = Math.max(peakYoungBytes, young?.space_size ?? 0)
  peakHeapBytes = Math.max(peakHeapBytes, process.memoryUsage().heapTotal)
}
process.stdout.write(JSON.stringify({ peakYoungBytes, peakHeapBytes }))
