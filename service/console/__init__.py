"""The console: pages for people who would rather look than type. A client of the API like any other.

It signs people in with OAuth, holds their tokens in a session, and calls the API with them through the typed client. So
everything seen here is decided and recorded by the service. It imports nothing of the service but that client, and only
`service/commands/console.py` puts it together with settings, Redis and a socket.

Where things are, and how to add a page:

- `application` puts the parts together. Its ROOMS name a module of routes for each kind of reader: `employee`, ...
- A module of routes ends with ROOM: its title and links in the navigation, and its route handlers. Import it in
  `application` and add it to ROOMS; there is nothing else to register.
- A handler asks for `visit: TheVisit` (`visits`). That signs the person in, and has `visit.api`, the typed client with
  their token; `visit.me` and `visit.may(kind, action)`; `visit.render("page.html", ...)`; and, after a change,
  `visit.redirect(path, done="saved")`, where `done` is a key of the sentences in ROOM.
- A handler lets problems of the API pass: `failure_answers` turns every exception into a page, or a fragment for htmx,
  with the problem's sentence, its decision and what to do, and sends people to sign in again when the API demands it. A
  handler catches a `Problem` only to show it beside what the person typed: `{{ ui.failure(describe(found), visit) }}`.
- Templates extend `layout.html` and import `ui.html`. Values are escaped; scripts and styles are files of `static/`,
  because the content policy allows no others. `rendering` has `| hours`, `| day` and `moment(...)`. Text that people
  wrote stands in `<bdi>`.
- A form that changes something is a POST and contains `{{ csrf() }}`; htmx sends the token by itself. `protection`
  refuses every other change.
- A script is a module in `static/`; a page loads it with `{% block scripts %}`. Vendored files are in `static/vendor/`
  with their versions and checksums.
- Tests open the pages in a real browser (tests/browser). Each page is in PAGES of tests/browser/pages.py: test_looks
  tries it for accessibility, in light and dark, wide and narrow. `desk.window("mia")` opens a page for Mia, signed in.
"""
