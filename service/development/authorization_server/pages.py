"""The pages for people: sign-in, second factor, consent, device, and errors that must not redirect. Pure.

Self-contained (no scripts, images or fonts), and readable on a phone and with a screen reader. All outside text passes
through `escape`.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING

from service.development.people import ALL_MEANINGS

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from service.development.people import DemoClient, DemoPerson

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #fff; --ground: #eef1f5; --line: #c9d1db; --accent: #1a5fb4;
  --soft: #55606e; --bad: #a51d2d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf1; --paper: #1b222c; --ground: #11161d; --line: #3a4552;
  --accent: #78aeed; --soft: #a9b4c1; --bad: #ff938c; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1rem; background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 26rem; margin: 6vh auto; padding: 1.5rem; background: var(--paper); border: 1px solid var(--line);
  border-radius: .75rem; }
h1 { margin: 0 0 1rem; font-size: 1.35rem; line-height: 1.25; overflow-wrap: anywhere; }
p { overflow-wrap: anywhere; }
label { display: block; margin: .75rem 0 .25rem; font-weight: 600; }
h2 { margin: 1.5rem 0 .5rem; font-size: 1.1rem; }
pre { overflow-x: auto; font-size: .85rem; }
input[type=text], input[type=password], select, textarea { width: 100%; padding: .6rem; font: inherit; color: inherit;
  background: transparent; border: 1px solid var(--line); border-radius: .4rem; }
fieldset { margin: 0 0 1rem; padding: 0; border: 0; }
legend { padding: 0; font-weight: 600; }
.scope { display: flex; gap: .75rem; align-items: flex-start; padding: .6rem 0; border-bottom: 1px solid var(--line); }
.scope label { margin: 0; font-weight: 400; }
.scope input { width: 1.25rem; height: 1.25rem; margin: .15rem 0 0; flex: none; }
code, small { color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
button { width: 100%; margin-top: .75rem; padding: .7rem; font: inherit; font-weight: 600; border-radius: .4rem;
  border: 1px solid var(--accent); background: transparent; color: var(--accent); cursor: pointer; }
button.main { background: var(--accent); color: var(--paper); }
button.quiet { border-color: transparent; margin-top: 0; font-weight: 400; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
[role=alert] { padding: .6rem .75rem; border-left: 4px solid var(--bad); color: var(--bad); }
"""

STYLE_HASH = "sha256-" + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def sign_in_page(client: DemoClient, action: str, form_token: str, *, login: str = "", problem: str = "") -> str:
    """Ask for login and password. `problem`: why the page is shown again."""
    return page(
        "Sign in",
        f"""<p>to continue to <strong>{escape(client.name)}</strong></p>
{alert(problem)}
<form method="post" action="{escape(action)}">
{_hidden_fields(form_token, "sign-in")}
<label for="login">Name</label>
<input id="login" name="login" type="text" value="{escape(login)}" autocomplete="username" autocapitalize="none"
  spellcheck="false" required autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button class="main" type="submit">Sign in</button>
</form>
<p><small>This is a development server. Its people and passwords are demo data.</small></p>""",
    )


def second_factor_page(person: DemoPerson, action: str, form_token: str, demo_code: str, *, problem: str = "") -> str:
    """Ask for the second factor, and show the code that a phone would show."""
    return page(
        "Second factor",
        f"""<p>The app asks you, <strong>{escape(person.name)}</strong>, for a second factor.</p>
{alert(problem)}
<form method="post" action="{escape(action)}">
{_hidden_fields(form_token, "second-factor")}
<label for="second_factor">Code on your phone</label>
<input id="second_factor" name="second_factor" type="text" inputmode="numeric" autocomplete="one-time-code" required
  autofocus>
<button class="main" type="submit">Continue</button>
</form>
<p><small>This is a development server without a real phone. The code for this half minute is
<code>{escape(demo_code)}</code>.</small></p>""",
    )


def user_code_page(action: str, *, problem: str = "") -> str:
    """Ask for the code that a device shows (RFC 8628 section 3.3)."""
    return page(
        "Connect a device",
        f"""{alert(problem)}
<form method="get" action="{escape(action)}">
<label for="user_code">Code on your device</label>
<input id="user_code" name="user_code" type="text" autocomplete="off" autocapitalize="characters" spellcheck="false"
  required autofocus>
<button class="main" type="submit">Continue</button>
</form>""",
    )


def device_done_page() -> str:
    """The page after the decision about a device."""
    return page("Done", "<p>Your device has its answer. You can close this page.</p>")


def consent_page(
    client: DemoClient,
    person: DemoPerson,
    *,
    asked: tuple[str, ...],
    allowed: AbstractSet[str],
    action: str,
    tokens: tuple[str, str],
    redirect_uri: str,
    user_code: str = "",
) -> str:
    """A box for each requested scope that the person may grant; the others are listed below.

    `tokens`: the form tokens of the consent form and of the form that changes the account. `user_code`: that of a
    waiting device, which the person must recognize (RFC 8628 section 5.4).
    """
    boxes = "".join(_box(scope) for scope in asked if scope in allowed)
    beyond = "".join(_line(scope) for scope in asked if scope not in allowed)
    origin = "" if client.first_party else "<p>This is a third-party app. It gets only what you tick.</p>"
    choice = (
        f"<fieldset><legend>It asks for these permissions</legend>{boxes}</fieldset>"
        '<button class="main" type="submit" name="decision" value="allow">Allow</button>'
        if boxes
        else "<p>It asks for no permission that you can grant.</p>"
    )
    device = (
        f"<p>A device waits with the code <strong>{escape(user_code)}</strong>. Allow it only if it is your device and "
        "shows this code.</p>"
        if user_code
        else ""
    )
    after = "" if user_code else f"<p><small>You then return to {escape(redirect_uri)}</small></p>"
    return page(
        f"{client.name} wants to act for you",
        f"""<p>You are signed in as <strong>{escape(person.name)}</strong> ({escape(person.login)}).</p>
{origin}{device}
<form method="post" action="{escape(action)}">
{_hidden_fields(tokens[0], "consent")}
{choice}
<button type="submit" name="decision" value="deny">Refuse</button>
</form>
{f"<p>You cannot grant these:</p><ul>{beyond}</ul>" if beyond else ""}
{after}
<form method="post" action="{escape(action)}">
{_hidden_fields(tokens[1], "switch")}
<button class="quiet" type="submit">Use another account</button>
</form>""",
    )


def error_page(error: str, description: str) -> str:
    """The page for errors when the redirect URI cannot be trusted (RFC 6749 section 4.1.2.1)."""
    return page(
        "This request is not valid",
        f"""{alert(description or "The request is not valid.")}
<p>The app that sent you here made an error, so you cannot return to it from here. Close this page and start again in
the app.</p>
<p><code>{escape(error)}</code></p>""",
    )


def page(title: str, content: str) -> str:
    """A whole page around this content."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} - Timewarden development</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{content}
</main>
</body>
</html>
"""


def _hidden_fields(form_token: str, step: str) -> str:
    return (
        f'<input type="hidden" name="step" value="{escape(step)}">'
        f'<input type="hidden" name="form_token" value="{escape(form_token)}">'
    )


def alert(problem: str) -> str:
    """The problem as an alert for screen readers too; empty without a problem."""
    return f'<p role="alert">{escape(problem)}</p>' if problem else ""


def _box(scope: str) -> str:
    name = escape(scope)
    words = escape(ALL_MEANINGS[scope])
    return (
        f'<div class="scope"><input type="checkbox" id="{name}" name="scope" value="{name}" checked>'
        f'<label for="{name}">{words}<br><code>{name}</code></label></div>'
    )


def _line(scope: str) -> str:
    return f"<li>{escape(ALL_MEANINGS[scope])} <code>{escape(scope)}</code></li>"
