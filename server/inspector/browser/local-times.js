/** Shows every `<time datetime>` of the page in the reader's own time zone; UTC stays in its title. */
import { formatUtc } from './measures.js'

const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' })
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })

/** @param {Element} element */
function localise(element) {
  const instant = element.getAttribute('datetime') ?? ''
  const date = new Date(instant)
  if (Number.isNaN(date.getTime())) return
  const isToday = date.toDateString() === new Date().toDateString()
  const format = element.getAttribute('data-form') === 'clock' && isToday ? clock : full
  element.textContent = format.format(date)
  element.setAttribute('title', formatUtc(instant))
}

for (const element of document.querySelectorAll('time[datetime]')) localise(element)
