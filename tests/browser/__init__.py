"""The studio in a real browser: `make test-browser`. Without Playwright and Chromium nothing here is collected."""
