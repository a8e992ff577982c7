"""What decisions have in common: the dictionaries with which `packing` compresses them. Pure.

None is ever changed, since records are stored with it. In the first two, what most records have comes last, where it
costs least to refer to.
"""

from importlib import resources

# Of records as they were when packing began.
FIRST = (
    b'"commitments":{"q":"","trace":"00-"question":{"kinds":["decision","access"]},"positions":{"since":null,"until":'
    b'null},"again":true,"also":["former":{"named":[],"others":1},"list-approvals","action":"approve","upload:entries"'
    b'"access","nonce":"application/"role:payroll","role:administrator","role:manager","role:auditor","auth_age":1'
    b'"methods":["mfa","pwd"],"acr":"urn:"kind":"machine","person":null,"state":"submitted","state":"approved",'
    b'"state":"rejected","state":"locked","audit-read","project-read","read-me","approve-team","approve-as-fallback",'
    b'"read-own","read-team","read-as-delegate","read-as-fallback","read-for-payroll","read-everything",'
    b'"/v1/approvals","/v1/me","/v1/projects","/v1/decisions","/v1/audit/records","/v1/timesheets/{timesheet_id}/history"'
    b'"approve:timesheets","create:timesheets","read:audit","read:timesheets","submit:timesheets","update:timesheets"'
    b'{"about":"kind","found":false,"looked":true},"facts":{"mfa":null,"recent_sign_in":null},"kind":"me",'
    b'"facts":{"acted_for_owner":null,"locked_by_asker":null,"mfa":true,"recent_sign_in":true},"relations":{},'
    b'"resource":{"id":null,"kind":"timesheet","owner":null,"state":null,"version":null},"returned":["'
    b'","route":"/v1/timesheets"},"asked":{"about":"list","found":false,"looked":true},"owner":false},'
    b'"delegate":true,"fallback":true,"importer":true,"manager":true,"owner":false},"rules":["read-team"],'
    b'{"action":"read","applied":null,"asked":{"about":"row","found":true,"looked":true},"decided_at":"2026-11-29T00:00:'
    b'00.000000Z","directory_revision":1,"facts":{"acted_for_owner":false,"locked_by_asker":false,"mfa":null,'
    b'"recent_sign_in":null},"kind":"decision","nonce":"0123456789abcdef","not_applied_because":null,"outcome":"allow",'
    b'"policy":{"digest":"","version":1},"principal":{"acr":null,"auth_age":null,"client":"hours-app","issuer":"main",'
    b'"kind":"user","methods":null,"person":"01","roles":[],"scopes":["create:timesheets","read:timesheets"],"token":"'
    b'"},"reason":"allowed","relations":{"delegate":false,"fallback":false,"importer":false,"manager":false,"owner":true},'
    b'"request":{"id":"01","method":"GET","route":"/v1/timesheets/{timesheet_id}"},"resource":{"id":"01","kind":'
    b'"timesheet","owner":"01","state":"draft","version":6},"returned":["01"],"rules":["read-own"],"uid":"01","v":1}'
)

# Of what the demo, a working day and the refusals of the benchmarks record under the shipped policy: their members in
# the order of records, without ids, digests and times.
SECOND = (
    # Words that few decisions have.
    b'"commitments":{"q":"","trace":"00-"also":["former":{"named":[],"others":1},"again":true,'
    b'"positions":{"since":null,"until":null},"actors":["principal.groups":["owner.groups":["resource.approvals":["res'
    b'ource.attributes.project.leads":[""role:policy-author","role:payroll","role:employee","role:manager",'
    b'"role:administrator","role:auditor","urn:"kind":"client","kind":"machine","application/"batch:upload",'
    b'"delete:timesheets","manage:directory","manage:tokens","read:policies","write:policies","submit:timesheets",'
    b'"update:timesheets""kind":"access_request","kind":"delegation","kind":"policy","kind":"token","kind":"project",'
    b'"not_applied_because":"precondition-failed","wrong-state","dry-run","reason":"insufficient-scope",'
    b'"locked_by_asker":true,"acted_for_owner":true,"looked":false},"agent":true,"recent_sign_in":true},'
    b'"recent_sign_in":false},"mfa":true,"mfa":false,"auth_age":0,"client":""methods":["pwd","otp","mfa"],"amr",'
    b'"state":"rejected","state":"locked","action":"withdraw","action":"reject","action":"reopen","action":"unlock",'
    b'"action":"lock","action":"delete","action":"upload","action":"propose","action":"activate","action":"simulate",'
    b'"action":"request","action":"grant","action":"decline","action":"end","action":"erase","action":"revoke",'
    b'"method":"DELETE","method":"PATCH","/reject"},"/reopen"},"/withdraw"},"/lock"},"/unlock"},"/history"},'
    b'"/entries/{entry_id}"},"/access"},"route":"/v1/reports/hours","/v1/uploads","/v1/projects",'
    b'"/v1/people/{person_id}","/v1/teams/{team_id}","/v1/memberships","/v1/delegations","/v1/access-requests",'
    b'"/v1/policies/versions","/v1/audit/records","/v1/timesheets/batch-approve",'
    b'"/v1/me/decisions""read-as-temporary-approver","read-as-fallback","read-as-delegate","read-payroll",'
    b'"lock-payroll","approve-as-delegate","approve-as-fallback","withdraw-own","reject-team","reopen-team",'
    b'"delete-own","create-own","upload-contractors","never-for-owner","agents-never-approve","directory-manage",'
    b'"directory-read","project-read","policy-read","review-me","delegation-read-own","access-read-own",'
    # Reads of the log, of the own account, and changes of the directory.
    b'"question":{"kinds":["decision","access"]},{"action":"manage","applied":true,"kind":"directory",'
    b'"rules":["directory-manage"],"route":"/v1/people"},"action":"review",{"action":"read","applied":null,'
    b'"asked":{"about":"kind","found":false,"looked":true},"facts":{"agent":false,"mfa":null,"recent_sign_in":null},'
    b'"kind":"access","relations":{},"request":{"id":"01","method":"GET","route":"/v1/decisions"},'
    b'"resource":{"id":null,"kind":"log","owner":null,"state":null,"version":null},"returned":[],'
    b'"rules":["audit-read"],"relations":{},"request":{"id":"01","method":"GET","route":"/v1/me"},'
    b'"resource":{"id":null,"kind":"me","owner":null,"state":null,"version":null},"returned":[],"rules":["read-me"],'
    # Lists.
    b'{"action":"list-approvals","applied":null,"route":"/v1/approvals"},"rules":["approve-team",'
    b'"approve-as-delegate","approve-as-fallback","approve-as-temporary-approver"],{"action":"read","applied":null,'
    b'"asked":{"about":"list","found":false,"looked":true},"attributes":{"principal.teams":["01"]},'
    b'"facts":{"acted_for_owner":null,"agent":false,"locked_by_asker":null,"mfa":null,"recent_sign_in":null},'
    b'"manager":false,"owner":false,"temporary_approver":false},"request":{"id":"01","method":"GET",'
    b'"route":"/v1/timesheets"},"resource":{"id":null,"kind":"timesheet","owner":null,"state":null,"version":null},'
    b'"returned":["01"],"rules":["read-own","read-team","read-as-delegate","read-as-fallback",'
    b'"read-as-temporary-approver"],'
    # Changes of a timesheet.
    b'{"action":"create","applied":true,"asked":{"about":"new","found":false,"looked":true},"method":"POST",'
    b'"route":"/v1/timesheets"},"state":"draft","version":null},"rules":["create-own"],{"action":"submit",'
    b'"applied":true,"asked":{"about":"row","found":true,"looked":true},"request":{"id":"01","method":"POST",'
    b'"route":"/v1/timesheets/{timesheet_id}/submit"},"rules":["submit-own"],{"action":"edit","applied":true,'
    b'"asked":{"about":"row","found":true,"looked":true},"request":{"id":"01","method":"PUT",'
    b'"route":"/v1/timesheets/{timesheet_id}/entries"},"returned":[],"rules":["edit-own"],"state":"approved",'
    b'"version":8},"returned":[],"rules":[],"uid":"01'
    # Approvals, refused ones too.
    b'{"action":"approve","applied":true,"outcome":"allow","reason":"allowed","rules":["approve-team"],'
    b'{"action":"approve","applied":false,"asked":{"about":"row","found":true,"looked":true},'
    b'"resource.state_since":"2026-11-29T00:00:00.000000Z","resource.submitted_at":"2026-11-29T00:00:00.000000Z"},'
    b'"decided_at":""outcome":"deny","policy":{"digest":"","reason":"no-rule","reason":"deny-rule",'
    b'"relations":{"delegate":true,"fallback":true,"importer":true,"manager":true,"owner":false,'
    b'"temporary_approver":true},"request":{"id":"01","method":"POST",'
    b'"route":"/v1/timesheets/{timesheet_id}/approve"},"state":"submitted","version":7},"returned":[],'
    b'"rules":["never-own-hours"],"uid":"01"scopes":["approve:timesheets","create:timesheets","read:audit",'
    b'"read:timesheets"],"token":"'
    # The read of a timesheet by its owner.
    b'"rules":["read-team"],{"action":"read","applied":null,"asked":{"about":"row","found":true,"looked":true},'
    b'"attributes":{"principal.teams":["01"],"resource.days":5,"resource.entry_count":5,"resource.minutes":2400,'
    b'"resource.owner.teams":["01"],"resource.period_start":"2026-11-23T00:00:00Z","resource.projects":["ATLAS"],'
    b'"resource.state_since":"2026-11-29T00:00:00.000000Z"},"decided_at":"2026-11-29T00:00:00.000000Z",'
    b'"directory_revision":1,"facts":{"acted_for_owner":false,"agent":false,"locked_by_asker":false,"mfa":null,'
    b'"recent_sign_in":null},"kind":"decision","nonce":"0123456789abcdef","not_applied_because":null,'
    b'"outcome":"allow","policy":{"digest":"","version":1},"principal":{"acr":null,"auth_age":null,'
    b'"client":"hours-app","issuer":"main","kind":"user","methods":null,"person":"01","roles":[],'
    b'"scopes":["create:timesheets","read:timesheets"],"token":""},"reason":"allowed","relations":{"delegate":false,'
    b'"fallback":false,"importer":false,"manager":false,"owner":true,"temporary_approver":false},"request":{"id":"01",'
    b'"method":"GET","route":"/v1/timesheets/{timesheet_id}"},"resource":{"id":"01","kind":"timesheet","owner":"01",'
    b'"state":"draft","version":6},"returned":["01"],"rules":["read-own"],"uid":"01","v":1}'
)

# Trained by zstd on the records of the demo and of a working day (`python -m tests.train_dictionary`).
THIRD = resources.files("service.log").joinpath("third.zstd-dictionary").read_bytes()
