"""Routes of timesheets: reading, changing, approvals, reports, reminders. `app` imports each module's `..._routes`."""
