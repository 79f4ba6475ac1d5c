"""Every patch that RecBole 1.2.0 and 1.2.1 need on today's numpy, pandas, torch and ray; nowhere else.

A patch replaces a name inside a RecBole module, so nothing outside RecBole sees it. Each names the line that it fixes,
as ``file:line`` of RecBole 1.2.1. This room imports nothing of the package but ``errors``: what a patch needs of the
package comes as an argument from :mod:`recbole_genrec.plugin`.
"""
