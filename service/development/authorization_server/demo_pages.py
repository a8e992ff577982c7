"""The page that forges tokens, reads tokens, and changes the signing keys: its text. Pure; all that came from outside
passes through `escape`.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from service.development.authorization_server.forging import FAULTS, FORGED_ALGORITHMS, TYPES
from service.development.authorization_server.pages import alert, page
from service.development.people import CLIENTS, PEOPLE, SCOPE_MEANINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def demo_page(keys: Sequence[tuple[str, str, str]], form_token: str, *, content: str = "", problem: str = "") -> str:
    """Everything on one page. `content` is the answer to what was asked last."""
    rows = "".join(
        f"<li><code>{escape(kid)}</code> {escape(algorithm)}, {escape(state)}</li>" for kid, algorithm, state in keys
    )
    return page(
        "Demo tokens",
        f"""{alert(problem)}
{content}
{_forge_form()}
<h2>Read a token</h2>
<form method="post" action="/demo/read">
<label for="token">Access token</label>
<textarea id="token" name="token" rows="5" spellcheck="false" required></textarea>
<button type="submit">Read it</button>
</form>
<h2>Signing keys</h2>
<ul>{rows}</ul>
<form method="post" action="/demo/keys">
<input type="hidden" name="form_token" value="{escape(form_token)}">
<button type="submit" name="when" value="soon">New keys: publish now, sign in five minutes</button>
<button type="submit" name="when" value="now">New keys: publish and sign at once</button>
</form>
<p><small>The old keys stay published until the tokens that they signed have expired.</small></p>""",
    )


def forged_token(token: str) -> str:
    """The new token, to copy."""
    return (
        f'<h2>The token</h2><label for="forged">Copy it</label>'
        f'<textarea id="forged" rows="8" readonly>{escape(token)}</textarea>'
    )


def read_token(header: str, claims: str, verdict: str) -> str:
    """What a token says, and what we say about it."""
    return f"<h2>This token</h2><p>{escape(verdict)}</p><pre>{escape(header)}</pre><pre>{escape(claims)}</pre>"


def _forge_form() -> str:
    people = [("", "nobody: the client itself"), *((person.login, person.name) for person in PEOPLE.values())]
    faults = [("", "none: a good token"), *FAULTS.items()]
    return f"""<h2>Forge a token</h2>
<form method="post" action="/demo/forge">
{_choice("who", "Who", people)}
{_choice("client_id", "Client", ((client.client_id, client.name) for client in CLIENTS.values()))}
<label for="scope">Scopes</label>
<input id="scope" name="scope" type="text" value="{escape(" ".join(SCOPE_MEANINGS))}" spellcheck="false">
<label for="lifetime">Lifetime in seconds; below zero: expired so long ago</label>
<input id="lifetime" name="lifetime" type="text" inputmode="numeric" value="3600">
{_choice("typ", "typ", ((one, one) for one in TYPES))}
{_choice("algorithm", "alg", ((forged_algorithm, forged_algorithm) for forged_algorithm in FORGED_ALGORITHMS))}
{_choice("second_factor", "Second factor", (("", "no"), ("yes", "yes")))}
<label for="sign_in_age">Signed in so many seconds ago</label>
<input id="sign_in_age" name="sign_in_age" type="text" inputmode="numeric" value="0">
{_choice("fault", "Fault", faults)}
<button class="main" type="submit">Forge</button>
</form>"""


def _choice(name: str, label: str, options: Iterable[tuple[str, str]]) -> str:
    inner = "".join(f'<option value="{escape(value)}">{escape(text)}</option>' for value, text in options)
    return f'<label for="{name}">{escape(label)}</label><select id="{name}" name="{name}">{inner}</select>'
