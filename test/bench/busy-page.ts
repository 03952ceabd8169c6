/** The first page while hundreds of uploads move: what the browser itself counts. */
import { startChromium } from '../support/chromium.ts'

export interface Busyness {
  framesPerSecond: number
  /** Tasks above 50 ms (Long Tasks API), and how long they took together. */
  longTasks: number
  longTaskMs: number
  /** Milliseconds of the main thread per second: scripts, styles and layout. */
  scriptMs: number
  layoutMs: number
  heapBytes: number
  rows: number
}

/** Runs in the page: counts frames and long tasks for a while. */
const count = (seconds: number) => `new Promise((resolve) => {
  let frames = 0, longTasks = 0, longTaskMs = 0
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) { longTasks++; longTaskMs += duration }
  }).observe({ type: 'longtask' })
  const began = performance.now()
  const frame = () => {
    frames++
    const took = (performance.now() - began) / 1000
    if (took < ${seconds}) requestAnimationFrame(frame)
    else resolve({ framesPerSecond: frames / took, longTasks, longTaskMs })
  }
  requestAnimationFrame(frame)
})`

/** Watches the page for `seconds`. */
export async function watchPage(
  url: string,
  cookie: string,
  seconds: number,
  picture?: string,
): Promise<Busyness> {
  await using chromium = await startChromium()
  const context = await chromium.browser.newContext({ viewport: { width: 1280, height: 900 } })
  const [name = '', value = ''] = cookie.split('=')
  await context.addCookies([{ name, value, url }])
  const page = await context.newPage()
  await page.goto(url)
  await page.locator('progress.bar-sent').first().waitFor()
  const session = await context.newCDPSession(page)
  await session.send('Performance.enable')
  const read = async () => {
    const { metrics } = await session.send('Performance.getMetrics')
    return new Map(metrics.map((metric) => [metric.name, metric.value]))
  }
  const before = await read()
  // What the page itself counts; it is shaped by the script above.
  const counted: Pick<Busyness, 'framesPerSecond' | 'longTasks' | 'longTaskMs'> =
    await page.evaluate(count(seconds))
  const after = await read()
  const perSecond = (key: string) =>
    (((after.get(key) ?? 0) - (before.get(key) ?? 0)) * 1000) / seconds
  if (picture !== undefined) await page.screenshot({ path: picture })
  return {
    ...counted,
    scriptMs: perSecond('ScriptDuration'),
    layoutMs: perSecond('LayoutDuration') + perSecond('RecalcStyleDuration'),
    heapBytes: after.get('JSHeapUsedSize') ?? 0,
    rows: await page.locator('progress.bar-sent').count(),
  }
}
