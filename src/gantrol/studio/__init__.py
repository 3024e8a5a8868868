"""The studio: a page in the browser that shows what models can do; `gantrol studio` serves it.

    engine.py   the models, and the one place where they compute
    state.py    everything that decides a picture, and the command line that repeats it
    access.py   what may come in: uploads, and who may ask
    guard.py    errors that users see, as a line on the page
    app.py      the page: its tabs, its look, the server
    explore.py  the first tab, with widgets.py (its controls) and assets/ (what runs in the browser)

The other tabs are a module each. gradio (extra `studio`) is imported when a page is built, never before.
"""
